-- Become a member, in a new generation.
-- ARGV: 3 node  4 epoch  5 instance  6 last generation known to it  7 lease ms  8 take over?  9 tail
-- -> OK epoch sequence generation now_us | EPOCH | OWNED ms_left generation

local node, instance = ARGV[3], ARGV[5]
local meta = redis.call('HMGET', KEYS[1], 'e', 'g:' .. node)
if not meta[1] or meta[1] ~= ARGV[4] then return {'EPOCH'} end
local now = now_ms()
local held = redis.call('HGET', KEYS[2], node)
if held and ARGV[8] ~= '1' then
  -- Names are owned: who was fenced by a living process of its name leaves it alone; garbage in
  -- its place is nobody's.
  local generation, owner = string.match(held, '^(%d+) (%S+)')
  local left = tonumber(redis.call('ZSCORE', KEYS[4], node) or '0') - now
  if owner and owner ~= instance and left > 0 then return {'OWNED', left, tonumber(generation)} end
end
local generation = math.max(now, tonumber(meta[2] or '0') + 1, tonumber(ARGV[6]) + 1)
local text = whole(generation)
local record = text .. ' ' .. instance .. ' ' .. ARGV[9]
redis.call('HSET', KEYS[1], 'g:' .. node, text)
redis.call('HSET', KEYS[2], node, record)
redis.call('ZADD', KEYS[4], now + tonumber(ARGV[7]), node)
local sequence = emit(meta[1], 'M ' .. node .. ' ' .. record)
return {'OK', meta[1], sequence, generation, whole(clock_us())}
