-- Leave. What a later registration of the name did stays.
-- ARGV: 3 node  4 generation  5 instance
-- -> OK | OLD | EPOCH

local node = ARGV[3]
local epoch = redis.call('HGET', KEYS[1], 'e')
if not epoch then return {'EPOCH'} end
local held = redis.call('HGET', KEYS[2], node)
local generation, instance = string.match(held or '', '^(%S+) (%S+)')
if generation ~= ARGV[4] or instance ~= ARGV[5] then return {'OLD'} end
redis.call('HDEL', KEYS[2], node)
redis.call('ZREM', KEYS[4], node)
redis.call('HSET', KEYS[5], node, generation)
emit(epoch, 'X ' .. node .. ' ' .. generation)
return {'OK'}
