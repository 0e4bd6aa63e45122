-- Take tokens back: entries only widen, and their order makes no difference.
-- KEYS: 6 revoked   ARGV: 3.. name before until, each
-- -> OK entries_without_room | EPOCH

local MOST = 65536
local meta = redis.call('HGET', KEYS[1], 'e')
if not meta then return {'EPOCH'} end
local lines, refused, count = {}, 0, nil
for i = 3, #ARGV, 3 do
  local name, before, till = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local held = redis.call('HGET', KEYS[6], name)
  if held then
    local from, to = string.match(held, '^(%d+) (%d+)')
    before, till = math.max(before, tonumber(from or '0')), math.max(till, tonumber(to or '0'))
  end
  local value = whole(before) .. ' ' .. whole(till)
  -- HLEN is not in the access lists that are out there.
  if not held then count = count or #redis.call('HKEYS', KEYS[6]) end
  if not held and count >= MOST then
    refused = refused + 1
  elseif value ~= held then
    if not held then count = count + 1 end
    redis.call('HSET', KEYS[6], name, value)
    lines[#lines + 1] = 'R ' .. name .. ' ' .. value
  end
end
if #lines > 0 then emit(meta, table.concat(lines, '\n')) end
return {'OK', refused}
