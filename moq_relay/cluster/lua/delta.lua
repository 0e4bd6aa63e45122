-- What came after a cursor.
-- ARGV: 3 epoch  4 sequence
-- -> OK epoch sequence {lines, ..} | RESYNC epoch sequence | EPOCH

local meta = redis.call('HMGET', KEYS[1], 'e', 's')
if not meta[1] then return {'EPOCH'} end
local sequence, from = tonumber(meta[2] or '0'), tonumber(ARGV[4])
if meta[1] ~= ARGV[3] or from > sequence then return {'RESYNC', meta[1], sequence} end
if from == sequence then return {'OK', meta[1], sequence, {}} end
local entries = redis.call('XRANGE', KEYS[3], string.format('%.0f', from + 1), '+')
if #entries ~= sequence - from then return {'RESYNC', meta[1], sequence} end
local lines = {}
for i, entry in ipairs(entries) do lines[i] = entry[2][2] end
return {'OK', meta[1], sequence, lines}
