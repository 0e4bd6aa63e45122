-- What is taken back; entries whose tokens have all ended go.
-- KEYS: 6 revoked
-- -> OK {name, "before until", ..}

local now, entries, kept = now_ms() / 1000, redis.call('HGETALL', KEYS[6]), {}
for i = 1, #entries, 2 do
  local till = tonumber(string.match(entries[i + 1], '^%d+ (%d+)') or '')
  if till and till <= now then
    redis.call('HDEL', KEYS[6], entries[i])
  else
    kept[#kept + 1] = entries[i]
    kept[#kept + 1] = entries[i + 1]
  end
end
return {'OK', kept}
