-- Bind a feed's epoch to the primary's history; only this script makes epochs.
-- ARGV: 3 sequence the caller has seen  4 replication id  5 a fresh epoch  6 shards, or ''
-- -> OK epoch sequence shards made_anew

local meta = redis.call('HMGET', KEYS[1], 'e', 's', 'r', 'shards')
local shards = meta[4]
if not shards and ARGV[6] ~= '' then
  shards = ARGV[6]
  redis.call('HSET', KEYS[1], 'shards', shards)
end
if meta[1] and meta[3] == ARGV[4] then
  return {'OK', meta[1], tonumber(meta[2] or '0'), tonumber(shards or '0'), 0}
end
redis.call('HSET', KEYS[1], 'e', ARGV[5], 'r', ARGV[4])
redis.call('DEL', KEYS[3])
-- Sequences of the membership are the cluster's version: they never go back.
if tonumber(ARGV[3]) > tonumber(meta[2] or '0') then
  redis.call('HSET', KEYS[1], 's', ARGV[3])
end
local sequence = emit(ARGV[5], 'A')
return {'OK', ARGV[5], sequence, tonumber(shards or '0'), 1}
