# A relay in a container: docker build -t moq-relay . ; settings come as MOQ_ variables or as a file.
FROM python:3.13-slim AS build
WORKDIR /build
RUN python3 -m venv /opt/moq-relay
COPY pyproject.toml requirements.lock README.md LICENSE-MIT LICENSE-APACHE ./
COPY moq_relay moq_relay
# The versions that are tested, of what runs alone.
RUN sed -En 's/^([a-z0-9-]+==[^ ]+( ; [^\\]+)?) *\\?$/\1/p' requirements.lock > constraints.txt \
    && /opt/moq-relay/bin/pip install --no-cache-dir --disable-pip-version-check \
       --constraint constraints.txt '.[embedded]' \
    && /opt/moq-relay/bin/pip uninstall --yes --quiet pip \
    && /opt/moq-relay/bin/python -m compileall -q /opt/moq-relay/lib

FROM python:3.13-slim
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data moq \
    && install -d -o moq -g moq -m 0700 /data /certs
COPY --from=build /opt/moq-relay /opt/moq-relay
ENV PATH=/opt/moq-relay/bin:$PATH PYTHONUNBUFFERED=1
USER moq
WORKDIR /data
VOLUME /data
EXPOSE 4443/udp 4443/tcp 9101/tcp
# Not ready is not unhealthy: it serves what it can. So the process alone is asked.
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9101/health', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["moq-relay"]
