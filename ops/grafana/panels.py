"""What the dashboards are made of: panels with a unit, a legend and a word on what they show."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, heatmap, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import table as tables
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

RUNBOOK = "docs/operations/alerts.md"
SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
ALL = models.VariableOption(text="All", value="$__all")
WIDTH, HEIGHT = 24, 8

Build = Callable[["Place"], Any]


@dataclass(frozen=True, slots=True)
class Place:
    """How wide a panel is, and how high."""

    width: int
    height: int = HEIGHT


@dataclass(frozen=True, slots=True)
class Query:
    """One expression of a panel."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Limit:
    """Where a panel turns red, and what to do then; ``alert`` is the one whose runbook helps."""

    value: float
    reads: str
    act: str
    alert: str


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one title, side by side."""

    title: str
    panels: Sequence[Build]


def lines(
    title: str, unit: str, says: str, *queries: Query, limit: Limit | None = None, whole: float = 0
) -> Build:
    """Curves over time; ``whole`` is the upper end of a share."""

    def build(place: Place) -> timeseries.Panel:
        panel = timeseries.Panel().span(place.width).height(place.height).title(title)
        panel = panel.description(_text(says, limit)).unit(unit).datasource(SOURCE).min(0)
        panel = panel.fill_opacity(10).show_points(looks.VisibilityMode.NEVER)
        panel = panel.legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(looks.LegendDisplayMode.LIST)
            .placement(looks.LegendPlacement.BOTTOM)
        ).tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI))
        if whole:
            panel = panel.max(whole)
        if limit is not None:
            style = common.GraphThresholdsStyleConfig().mode(looks.GraphThresholdsStyleMode.DASHED)
            panel = panel.thresholds(_steps(limit)).thresholds_style(style)
        for number, query in enumerate(queries):
            panel = panel.with_target(_target(query, number))
        return panel

    return build


def number(title: str, unit: str, says: str, query: Query, limit: Limit | None = None) -> Build:
    """The last value, large, one for each series."""

    def build(place: Place) -> stat.Panel:
        panel = stat.Panel().span(place.width).height(place.height).title(title)
        panel = panel.description(_text(says, limit)).unit(unit).datasource(SOURCE)
        panel = panel.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        if limit is not None:
            panel = panel.thresholds(_steps(limit))
        return panel.with_target(_target(query, 0))

    return build


def matrix(title: str, unit: str, says: str, expr: str, limit: Limit | None = None) -> Build:
    """Region by region: rows are where it is seen, columns what is seen."""

    def build(place: Place) -> tables.Panel:
        panel = tables.Panel().span(place.width).height(place.height).title(title)
        panel = panel.description(_text(says, limit)).unit(unit).datasource(SOURCE)
        if limit is not None:
            panel = panel.thresholds(_steps(limit))
            panel = panel.cell_options(looks.TableColoredBackgroundCellOptions())
        target = _target(Query(expr, "{{relay_region}} from {{peer_region}}"), 0)
        grouping = {
            "rowField": "relay_region",
            "columnField": "peer_region",
            "valueField": "Value",
        }
        return panel.with_target(target.format(PromQueryFormat.TABLE).instant()).transformations(
            [models.DataTransformerConfig(id_val="groupingToMatrix", options=grouping)]
        )

    return build


def heat(title: str, says: str, expr: str) -> Build:
    """How often each bucket of a histogram, over time; ``expr`` keeps ``le``."""

    def build(place: Place) -> heatmap.Panel:
        panel = heatmap.Panel().span(place.width).height(place.height).title(title)
        panel = panel.description(says).unit("s").datasource(SOURCE).calculate(False)
        panel = panel.y_axis(heatmap.YAxisConfig().unit("s"))
        color = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges")
        panel = panel.color(color.steps(64))
        target = _target(Query(expr, "{{le}}"), 0).format(PromQueryFormat.HEATMAP)
        return panel.with_target(target)

    return build


def _target(query: Query, number: int) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend)
    return target.ref_id(chr(ord("A") + number)).datasource(SOURCE).range()


def _text(says: str, limit: Limit | None) -> str:
    if limit is None:
        return says
    return f"{says} {limit.reads}: {limit.act} See {RUNBOOK}#{limit.alert.lower()}."


def _steps(limit: Limit) -> dashboard.ThresholdsConfig:
    steps = [models.Threshold(None, "green"), models.Threshold(limit.value, "red")]
    config = dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE)
    return config.steps(steps)


def variable(name: str, query: str, says: str) -> dashboard.QueryVariable:
    """A choice of several values of a label, all of them at first; of one where it is a cluster."""
    several = name != "cluster"
    found = dashboard.QueryVariable(name).label(name.capitalize()).description(says)
    found = found.query(query).datasource(SOURCE).sort(models.VariableSort.ALPHABETICAL_ASC)
    found = found.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
    found = found.multi(several).include_all(several)
    return found.all_value(".*").current(ALL) if several else found


def board(title: str, uid: str, says: str, rows: Sequence[Row]) -> dashboard.Dashboard:
    """A dashboard with the variables that all have."""
    made = dashboard.Dashboard(f"moq-relay: {title}").uid(uid).description(says)
    made = made.tags(["moq-relay"]).time("now-1h", "now").refresh("10s").timezone("utc").readonly()
    made = made.tooltip(models.DashboardCursorSync.CROSSHAIR)
    made = made.link(
        dashboard.DashboardLink("moq-relay")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags(["moq-relay"])
        .as_dropdown(True)
        .include_vars(True)
        .keep_time(True)
    )
    info = "moq_relay_info"
    made = (
        made.with_variable(
            dashboard.DatasourceVariable("datasource").label("Source").type("prometheus")
        )
        .with_variable(
            variable("cluster", f"label_values({info}, cluster)", "A label of the scrape targets.")
        )
        .with_variable(
            variable(
                "region",
                f'label_values({info}{{cluster="$cluster"}}, relay_region)',
                "Where the relays are that tell: their cluster.region.",
            )
        )
        .with_variable(
            variable(
                "instance",
                f'label_values({info}{{cluster="$cluster", relay_region=~"$region"}}, instance)',
                "The scrape targets.",
            )
        )
    )
    for row in rows:
        made = made.with_row(dashboard.Row(row.title))
        for build, place in zip(row.panels, _places(len(row.panels)), strict=True):
            made = made.with_panel(build(place))
    return made


def _places(count: int) -> list[Place]:
    """At most four panels in a line, lines as even as can be."""
    rest, found = count, []
    while rest:
        here = min(rest, 4 if rest not in {5, 6, 9} else 3)
        found += [Place(WIDTH // here)] * here
        rest -= here
    return found
