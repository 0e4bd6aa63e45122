-- Claims and releases of one node, numbered: what is not greater than the last pair is refused.
-- ARGV: 3 node  4 epoch  5 generation  6 number  then operations:
--   +  path token age_us since hops    since is '' until the node was told it
--   -  path
--   E                                  the node has re-announced all
-- -> OK epoch sequence {since of each claim, ..} | EPOCH | OLD generation number

local node, generation, number = ARGV[3], tonumber(ARGV[5]), tonumber(ARGV[6])
local meta = redis.call('HMGET', KEYS[1], 'e', 'f:' .. node)
if not meta[1] or meta[1] ~= ARGV[4] then return {'EPOCH'} end
local last_generation, last_number = string.match(meta[2] or '0 0', '^(%d+) (%d+)$')
last_generation, last_number = tonumber(last_generation or '0'), tonumber(last_number or '0')
if generation < last_generation or (generation == last_generation and number <= last_number) then
  return {'OLD', last_generation, last_number}
end
redis.call('HSET', KEYS[1], 'f:' .. node, ARGV[5] .. ' ' .. ARGV[6])

-- The lines of a path that are others', and the highest since among them; garbage goes.
local function others(path)
  local rest, newest = {}, 0
  for line in string.gmatch(redis.call('HGET', KEYS[2], path) or '', '[^\n]+') do
    local who, since = string.match(line, '^(%S+) %d+ (%d+) %S+')
    if who and who ~= node then
      rest[#rest + 1] = line
      newest = math.max(newest, tonumber(since))
    end
  end
  return rest, newest
end

local lines, told, i = {}, {}, 7
while i <= #ARGV do
  local operation, path = ARGV[i], ARGV[i + 1]
  if operation == '+' then
    local token, age, since, hops = ARGV[i + 2], tonumber(ARGV[i + 3]), ARGV[i + 4], ARGV[i + 5]
    local rest, newest = others(path)
    if since == '' then
      local kept, whose = string.match(redis.call('HGET', KEYS[4], path) or '', '^(%d+) (%S+)$')
      if whose == token then
        since = kept
      else
        local start = clock_us() - age
        -- Redis' clock may have gone back; who appears now is newer than who is there.
        if age < 1000000 and start <= newest then start = newest + 1 end
        since = whole(start)
      end
    end
    local record = node .. ' ' .. ARGV[5] .. ' ' .. since .. ' ' .. hops
    rest[#rest + 1] = record
    redis.call('HSET', KEYS[2], path, table.concat(rest, '\n'))
    redis.call('HSET', KEYS[4], path, since .. ' ' .. token)
    lines[#lines + 1] = '+ ' .. path .. ' ' .. record
    told[#told + 1] = since
    i = i + 6
  elseif operation == '-' then
    local rest = others(path)
    if #rest == 0 then redis.call('HDEL', KEYS[2], path)
    else redis.call('HSET', KEYS[2], path, table.concat(rest, '\n')) end
    redis.call('HDEL', KEYS[4], path)
    lines[#lines + 1] = '- ' .. path .. ' ' .. node .. ' ' .. ARGV[5]
    i = i + 2
  else
    redis.call('HSET', KEYS[1], 'E:' .. node, meta[1] .. ' ' .. ARGV[5])
    lines[#lines + 1] = 'E ' .. node .. ' ' .. ARGV[5]
    i = i + 1
  end
end
local sequence = tonumber(redis.call('HGET', KEYS[1], 's') or '0')
if #lines > 0 then sequence = emit(meta[1], table.concat(lines, '\n')) end
return {'OK', meta[1], sequence, told}
