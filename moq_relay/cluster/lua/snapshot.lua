-- A feed whole.
-- -> OK epoch sequence {field, value, ..} {node, "epoch generation", ..} | EPOCH

local meta = redis.call('HGETALL', KEYS[1])
local epoch, sequence, ends = nil, '0', {}
for i = 1, #meta, 2 do
  local field = meta[i]
  if field == 'e' then epoch = meta[i + 1]
  elseif field == 's' then sequence = meta[i + 1]
  elseif string.sub(field, 1, 2) == 'E:' then
    ends[#ends + 1] = string.sub(field, 3)
    ends[#ends + 1] = meta[i + 1]
  end
end
if not epoch then return {'EPOCH'} end
return {'OK', epoch, tonumber(sequence), redis.call('HGETALL', KEYS[2]), ends}
