-- Where a node's own list, the records in the table and the reverse index differ.
-- ARGV: 3 node  4 generation  then for each of its paths: path token since hops
-- -> OK epoch fence_generation fence_number ended {missing path, ..} {ghost path, ..}
--    {path, since it did not know, ..} | EPOCH

local node, generation = ARGV[3], ARGV[4]
local meta = redis.call('HMGET', KEYS[1], 'e', 'f:' .. node, 'E:' .. node)
if not meta[1] then return {'EPOCH'} end
local fence, number = string.match(meta[2] or '0 0', '^(%d+) (%d+)$')
local missing, ghosts, learned, wanted = {}, {}, {}, {}
for i = 5, #ARGV, 4 do
  local path, token, since, hops = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  wanted[path] = true
  local kept, whose = string.match(redis.call('HGET', KEYS[4], path) or '', '^(%d+) (%S+)$')
  local found = false
  if kept and whose == token and (since == '' or since == kept) then
    local record = node .. ' ' .. generation .. ' ' .. kept .. ' ' .. hops
    local count = 0
    for line in string.gmatch(redis.call('HGET', KEYS[2], path) or '', '[^\n]+') do
      local who = string.match(line, '^(%S+) %d+ %d+ %S+')
      if not who then count = 2 elseif who == node then
        count = count + 1
        found = line == record
      end
    end
    found = found and count == 1
  end
  if not found then
    missing[#missing + 1] = path
  elseif since == '' then
    learned[#learned + 1] = path
    learned[#learned + 1] = kept
  end
end
for _, path in ipairs(redis.call('HKEYS', KEYS[4])) do
  if not wanted[path] then ghosts[#ghosts + 1] = path end
end
local ended = meta[3] == meta[1] .. ' ' .. generation
return {'OK', meta[1], tonumber(fence or '0'), tonumber(number or '0'), ended and 1 or 0,
  missing, ghosts, learned}
