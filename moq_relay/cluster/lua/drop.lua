-- Remove what a dead registration had in a shard; a later one of the name is left alone.
-- ARGV: 3 node  4 generation
-- -> OK removed | NEWER | EPOCH

local node, generation = ARGV[3], tonumber(ARGV[4])
local meta = redis.call('HMGET', KEYS[1], 'e', 'f:' .. node)
if not meta[1] then return {'EPOCH'} end
local fence = tonumber(string.match(meta[2] or '', '^(%d+)') or '0')
if fence > generation then return {'NEWER'} end
local paths = redis.call('HKEYS', KEYS[4])
for _, path in ipairs(paths) do
  local rest = {}
  for line in string.gmatch(redis.call('HGET', KEYS[2], path) or '', '[^\n]+') do
    if string.sub(line, 1, #node + 1) ~= node .. ' ' then rest[#rest + 1] = line end
  end
  if #rest == 0 then redis.call('HDEL', KEYS[2], path)
  else redis.call('HSET', KEYS[2], path, table.concat(rest, '\n')) end
end
redis.call('DEL', KEYS[4])
redis.call('HSET', KEYS[1], 'f:' .. node, whole(generation + 1) .. ' 0')
if #paths > 0 then emit(meta[1], 'D ' .. node .. ' ' .. ARGV[4]) end
return {'OK', #paths}
