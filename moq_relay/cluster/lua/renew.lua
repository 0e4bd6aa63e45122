-- Stay a member: only who holds exactly this registration may.
-- ARGV: 3 node  4 generation  5 instance  6 lease ms  7 tail  8 leases wanted?
-- -> OK epoch sequence now_us {node, end_ms, ..} | GONE now_us | FENCED generation instance ms_left

local node = ARGV[3]
local now_us = clock_us()
local now = math.floor(now_us / 1000)
local held = redis.call('HGET', KEYS[2], node)
if not held then return {'GONE', whole(now_us)} end
local generation, instance = string.match(held, '^(%S+) (%S+)')
if generation ~= ARGV[4] or instance ~= ARGV[5] then
  local left = tonumber(redis.call('ZSCORE', KEYS[4], node) or '0') - now
  return {'FENCED', generation or '0', instance or '', left}
end
local meta = redis.call('HMGET', KEYS[1], 'e', 's')
if not meta[1] then return {'GONE', whole(now_us)} end
redis.call('ZADD', KEYS[4], now + tonumber(ARGV[6]), node)
local sequence = tonumber(meta[2] or '0')
local record = generation .. ' ' .. instance .. ' ' .. ARGV[7]
if record ~= held then
  redis.call('HSET', KEYS[2], node, record)
  sequence = emit(meta[1], 'M ' .. node .. ' ' .. record)
end
local leases = {}
if ARGV[8] == '1' then leases = redis.call('ZRANGE', KEYS[4], 0, -1, 'WITHSCORES') end
return {'OK', meta[1], sequence, whole(now_us), leases}
