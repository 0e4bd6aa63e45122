-- The claims of one path.
-- ARGV: 3 path
-- -> OK value

return {'OK', redis.call('HGET', KEYS[2], ARGV[3]) or ''}
