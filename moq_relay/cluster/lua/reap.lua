-- Take out the members whose lease ended, but only after a lease of calm on this very clock.
-- ARGV: 3 lease ms  4 at most  5.. node, generation: dropped everywhere, to be forgotten
-- -> OK calm {reaped node, generation, ..} {node in the grave, generation, ..} | EPOCH

local epoch = redis.call('HGET', KEYS[1], 'e')
if not epoch then return {'EPOCH'} end
for i = 5, #ARGV, 2 do
  if redis.call('HGET', KEYS[5], ARGV[i]) == ARGV[i + 1] then redis.call('HDEL', KEYS[5], ARGV[i]) end
end
local now, lease = now_ms(), tonumber(ARGV[3])
local clock = redis.call('HMGET', KEYS[1], 't', 'calm')
local last, calm = tonumber(clock[1] or ''), tonumber(clock[2] or '')
-- Nobody could renew while this server stood still, and a clock that jumped ends every lease at
-- once: so the wait starts anew, and only a server that ran evenly for a lease is believed.
if not last or not calm or now < last or now - last > lease / 4 then calm = now end
redis.call('HSET', KEYS[1], 't', whole(now), 'calm', whole(calm))
local reaped = {}
if now - calm >= lease then
  local ended = redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', now, 'LIMIT', 0, ARGV[4])
  for _, node in ipairs(ended) do
    local held = redis.call('HGET', KEYS[2], node)
    local generation = held and string.match(held, '^(%d+)')
    generation = generation or redis.call('HGET', KEYS[1], 'g:' .. node) or '0'
    redis.call('HDEL', KEYS[2], node)
    redis.call('ZREM', KEYS[4], node)
    redis.call('HSET', KEYS[5], node, generation)
    emit(epoch, 'X ' .. node .. ' ' .. generation)
    reaped[#reaped + 1] = node
    reaped[#reaped + 1] = generation
  end
elseif last and now < last then
  -- The clock went back: leases that end in a far future would keep the dead for as long.
  for _, node in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], now + lease, '+inf')) do
    redis.call('ZADD', KEYS[4], now + lease, node)
  end
end
return {'OK', now - calm >= lease and 1 or 0, reaped, redis.call('HGETALL', KEYS[5])}
