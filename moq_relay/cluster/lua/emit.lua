-- Put before every script that changes something.
-- KEYS: 1 meta  2 table (or nodes)  3 log  4 own (or lease)  5 grave  6 revoked, for the membership
-- ARGV: 1 channel  2 length of the log  3.. the script's own

local function whole(number)
  return string.format('%.0f', number)
end

local function clock_us()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function now_ms()
  return math.floor(clock_us() / 1000)
end

-- The one way to change something: count it, keep it for who missed it, tell who listens.
local function emit(epoch, lines)
  local sequence = redis.call('HINCRBY', KEYS[1], 's', 1)
  local id = whole(sequence) .. '-0'
  local kept = redis.pcall('XADD', KEYS[3], 'MAXLEN', '=', ARGV[2], id, 'd', lines)
  if type(kept) == 'table' and kept.err then
    -- A log that is ahead of its sequence is of no use to anybody: they take a snapshot.
    redis.call('DEL', KEYS[3])
    redis.call('XADD', KEYS[3], id, 'd', lines)
  end
  redis.call('PUBLISH', ARGV[1], epoch .. ' ' .. whole(sequence) .. ' ' .. lines)
  return sequence
end
