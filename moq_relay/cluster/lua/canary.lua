-- Publish a line that says nothing, so that it is seen how long an event takes.
-- ARGV: 3 word
-- -> OK epoch sequence | EPOCH

local epoch = redis.call('HGET', KEYS[1], 'e')
if not epoch then return {'EPOCH'} end
return {'OK', epoch, emit(epoch, 'A ' .. ARGV[3])}
