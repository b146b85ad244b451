"""The scripts of the Redis job store: each is atomic, since Redis runs nothing else meanwhile.

Below the prefix of the keys:

job:<id>     hash: record, state (waiting, running, ended), owner, order, image, mask; attempts, token, progress,
             lease (seconds of the claim); outcome, result or object (its name); host (of the callback), delivery,
             delivery_token, delivery_wait (seconds of its claim, or until it is due). It expires with its result
waiting      sorted set: ids by their order
running      sorted set: ids by when their claim expires
ended        sorted set: ids by when they ended; also of jobs that have expired, until they are swept
failed       set: those of them without a result
deliveries   sorted set: ids by when their webhook is due, or its claim expires
sizes        hash: bytes by id
bytes        their sum
unfinished   hash: jobs that have not ended, by owner
objects      sorted set: names of results outside of Redis by when they are deleted
removed:<token>  what the script that has deleted a job said of it, for some seconds

Times are seconds since 1970 of the server's clock, so that the clocks of replicas do not matter. Arguments are a JSON
object, and after it contents as bytes.

A script may be run twice, where the connection was lost before its answer had come: then it has the same arguments.
Where Redis has no memory left, jobs are neither created nor given a result that is larger than their input; all else
goes on, since it frees memory or takes next to none.
"""

SERVER_CLOCK = "(function() local t = redis.call('TIME') return t[1] + t[2] / 1000000 end)()"
"""The time of the server in seconds, as an expression in Lua."""

UNCLAIMED_SECONDS = 3600
"""How long a result outside of Redis may be there before its job has ended."""

PRELUDE = """
local a = cjson.decode(ARGV[1])
local function key(name) return KEYS[1] .. name end
local function job(id) return key('job:' .. id) end
local now = CLOCK

-- Redis lets a script take memory that it has not left where its first write, such as this one, takes none.
local function exceed_memory() redis.call('DEL', key('none')) end

local function bytes() return tonumber(redis.call('GET', key('bytes')) or 0) end

local function resize(id, size)
  local before = tonumber(redis.call('HGET', key('sizes'), id) or 0)
  if size then redis.call('HSET', key('sizes'), id, size) else redis.call('HDEL', key('sizes'), id) end
  redis.call('INCRBY', key('bytes'), (size or 0) - before)
  return before
end

local function unfinished(owner, change)
  if redis.call('HINCRBY', key('unfinished'), owner, change) <= 0 then redis.call('HDEL', key('unfinished'), owner) end
end

-- Deletes a job, and returns how many webhooks are dropped with it.
local function remove(id)
  local found = redis.call('HMGET', job(id), 'state', 'owner', 'object')
  if found[1] and found[1] ~= 'ended' then unfinished(found[2], -1) end
  if found[3] then redis.call('ZADD', key('objects'), now, found[3]) end
  resize(id, nil)
  for _, name in ipairs({'waiting', 'running', 'ended'}) do redis.call('ZREM', key(name), id) end
  redis.call('SREM', key('failed'), id)
  redis.call('DEL', job(id))
  return redis.call('ZREM', key('deliveries'), id)
end

local function count_unfinished() return redis.call('ZCARD', key('waiting')) + redis.call('ZCARD', key('running')) end

-- Whether so many bytes would fit into a space without jobs that have ended.
local function could_fit(wanted, most)
  local missing = bytes() + wanted - most
  for _, id in ipairs(missing > 0 and redis.call('ZRANGE', key('ended'), 0, -1) or {}) do
    missing = missing - tonumber(redis.call('HGET', key('sizes'), id) or 0)
    if missing <= 0 then break end
  end
  return missing <= 0
end

-- Deletes expired jobs, then the oldest ended ones, until so many bytes fit; not those where that is of no use.
local function make_room(wanted)
  local dropped, of_use = 0, could_fit(wanted, a.most_bytes)
  while true do
    local oldest = redis.call('ZRANGE', key('ended'), 0, 0, 'WITHSCORES')
    if not oldest[1] then break end
    local full = (of_use and bytes() + wanted > a.most_bytes)
      or redis.call('ZCARD', key('ended')) + count_unfinished() > a.most_kept
    if tonumber(oldest[2]) > now - a.kept_seconds and not full then break end
    dropped = dropped + remove(oldest[1])
  end
  return bytes() + wanted <= a.most_bytes, dropped
end

-- Whether this replica has not found a job to be of another version.
local function is_readable(id) return a.unreadable[id] ~= redis.call('HGET', job(id), 'order') end

local function first_readable(ids)
  for _, id in ipairs(ids) do
    if is_readable(id) then return id end
  end
end

local function holds(token) return redis.call('HGET', job(a.id), 'token') == token end
"""

CREATE = """
local found = redis.call('HGET', job(a.id), 'record')
if found == ARGV[2] then return {'created', 0, 0} end
if found then return {'known', 0, 0} end
local own = tonumber(redis.call('HGET', key('unfinished'), a.owner) or 0)
if a.most_of_owner and own >= a.most_of_owner then return {'owner', own, 0} end
if count_unfinished() >= a.most_jobs then return {'jobs', count_unfinished(), 0} end
local size = #ARGV[2] + #ARGV[3] + (ARGV[4] and #ARGV[4] or 0)
local stale = redis.call('ZSCORE', key('ended'), a.id) and remove(a.id) or 0
if count_unfinished() > 0 and not could_fit(size, a.most_unfinished_bytes) then return {'bytes', 0, stale} end
local fits, dropped = make_room(size)
dropped = dropped + stale
if not fits then return {'bytes', 0, dropped} end
redis.call('HSET', job(a.id), 'record', ARGV[2], 'state', 'waiting', 'owner', a.owner, 'order', now, 'image', ARGV[3])
if ARGV[4] then redis.call('HSET', job(a.id), 'mask', ARGV[4]) end
if a.host then redis.call('HSET', job(a.id), 'host', a.host) end
resize(a.id, size)
unfinished(a.owner, 1)
redis.call('ZADD', key('waiting'), now, a.id)
return {'created', 0, dropped}
"""

REMOVE = """
exceed_memory()
local told = key('removed:' .. a.token)
local before = redis.call('GET', told)
if before then return {before, 0} end
local state = redis.call('HGET', job(a.id), 'state')
if state == 'ended' and redis.call('SISMEMBER', key('failed'), a.id) == 1 then state = 'failed' end
if state then redis.call('SET', told, state, 'EX', a.told_seconds) end
return {state, remove(a.id)}
"""

CLAIM_RUN = """
exceed_memory()
while true do
  local id = first_readable(redis.call('ZRANGEBYSCORE', key('running'), '-inf', now))
  local taken_over = id and 1 or 0
  id = id or first_readable(redis.call('ZRANGE', key('waiting'), 0, a.most_unreadable))
  if not id then return false end
  redis.call('ZREM', key('waiting'), id)
  local found = redis.call('HMGET', job(id), 'record', 'order')
  if found[1] then
    redis.call('ZADD', key('running'), now + a.lease_seconds, id)
    redis.call('HSET', job(id), 'state', 'running', 'token', a.token, 'progress', a.progress, 'lease', a.lease_seconds)
    return {id, found[2], found[1], redis.call('HINCRBY', job(id), 'attempts', 1) - 1, taken_over}
  end
  redis.call('ZREM', key('running'), id)
end
"""

FILES = """
if not holds(a.token) then return false end
return redis.call('HMGET', job(a.id), 'image', 'mask')
"""

RENEW = """
exceed_memory()
if not holds(a.token) then return 0 end
if redis.call('HGET', job(a.id), 'state') ~= 'running' then return 1 end
redis.call('ZADD', key('running'), now + a.lease_seconds, a.id)
redis.call('HSET', job(a.id), 'progress', a.progress, 'lease', a.lease_seconds)
return 1
"""

RELEASE = """
exceed_memory()
if not holds(a.token) or redis.call('HGET', job(a.id), 'state') ~= 'running' then return 0 end
redis.call('ZREM', key('running'), a.id)
redis.call('ZADD', key('waiting'), redis.call('HGET', job(a.id), 'order'), a.id)
redis.call('HSET', job(a.id), 'state', 'waiting')
redis.call('HDEL', job(a.id), 'token', 'progress')
redis.call('HINCRBY', job(a.id), 'attempts', -1)
return 1
"""

RESERVE = """
exceed_memory()
redis.call('ZADD', key('objects'), 'GT', now + a.unclaimed_seconds, a.object)
return 1
"""

FINISH = """
if not holds(a.token) then return {'lost', 0} end
if redis.call('HGET', job(a.id), 'state') == 'ended' then return {'stored', 0} end
local size = #ARGV[2] + #ARGV[3] + a.object_bytes + redis.call('HSTRLEN', job(a.id), 'record')
local kept = tonumber(redis.call('HGET', key('sizes'), a.id) or 0)
if #ARGV[3] <= kept then exceed_memory() end
local before = resize(a.id, 0)
local fits, dropped = make_room(size)
if not fits and not a.failed then
  resize(a.id, before)
  return {'large', dropped}
end
resize(a.id, size)
redis.call('HDEL', job(a.id), 'image', 'mask', 'progress')
redis.call('HSET', job(a.id), 'state', 'ended', 'outcome', ARGV[2])
if a.failed then redis.call('SADD', key('failed'), a.id)
elseif a.object then
  redis.call('HSET', job(a.id), 'object', a.object)
  redis.call('ZADD', key('objects'), now + a.kept_seconds, a.object)
else redis.call('HSET', job(a.id), 'result', ARGV[3]) end
unfinished(redis.call('HGET', job(a.id), 'owner'), -1)
redis.call('ZREM', key('running'), a.id)
redis.call('ZADD', key('ended'), now, a.id)
if a.callback then
  redis.call('HSET', job(a.id), 'delivery_wait', 0)
  redis.call('ZADD', key('deliveries'), now, a.id)
end
redis.call('PEXPIRE', job(a.id), math.ceil(a.kept_seconds * 1000))
return {'stored', dropped}
"""

CLAIM_DELIVERY = """
exceed_memory()
local dropped = 0

local function has_place(id)
  local of = redis.call('HMGET', job(id), 'owner', 'host')
  return not (a.full_owners[of[1]] or a.full_hosts[of[2]])
end

local function first_with_place()
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('deliveries'), '-inf', now)) do
    if is_readable(id) and has_place(id) then return id end
  end
end

while true do
  local id = first_with_place()
  if not id then return {dropped} end
  local found = redis.call('HMGET', job(id), 'record', 'outcome', 'delivery', 'order')
  if found[1] then
    redis.call('ZADD', key('deliveries'), now + a.lease_seconds, id)
    redis.call('HSET', job(id), 'delivery_token', a.token, 'delivery_wait', a.lease_seconds)
    return {dropped, id, found[4], found[1], found[2], found[3]}
  end
  dropped = dropped + redis.call('ZREM', key('deliveries'), id)
end
"""

LEAVE_DELIVERY = """
exceed_memory()
if redis.call('HGET', job(a.id), 'delivery_token') ~= a.token then return 0 end
redis.call('HDEL', job(a.id), 'delivery_token')
redis.call('ZADD', key('deliveries'), now, a.id)
return 1
"""

WRITE_DELIVERY = """
exceed_memory()
local found = redis.call('HMGET', job(a.id), 'delivery_token', 'delivery')
if found[1] ~= a.token then return found[2] == a.delivery and 1 or 0 end
redis.call('HSET', job(a.id), 'delivery', a.delivery)
redis.call('HDEL', job(a.id), 'delivery_token')
if a.wait then
  redis.call('HSET', job(a.id), 'delivery_wait', a.wait)
  redis.call('ZADD', key('deliveries'), now + a.wait, a.id)
else redis.call('ZREM', key('deliveries'), a.id) end
return 1
"""

SWEEP = """
-- Where the clock was set back, as by a failover, claims and waits would last that much longer.
local function shorten(name, seconds)
  local later = redis.call('ZRANGEBYSCORE', key(name), '(' .. now, '+inf', 'WITHSCORES')
  for place = 1, #later, 2 do
    local most = redis.call('HGET', job(later[place]), seconds)
    if most and tonumber(later[place + 1]) > now + most then redis.call('ZADD', key(name), now + most, later[place]) end
  end
end

local room = redis.pcall('INCRBY', key('bytes'), 0)
exceed_memory()
shorten('running', 'lease')
shorten('deliveries', 'delivery_wait')
local _, dropped = make_room(0)
local failed = redis.call('SCARD', key('failed'))
return {
  redis.call('ZCARD', key('waiting')), redis.call('ZCARD', key('running')),
  redis.call('ZCARD', key('ended')) - failed, failed, bytes(), dropped,
  redis.call('ZRANGEBYSCORE', key('objects'), '-inf', now, 'LIMIT', 0, 100),
  type(room) == 'number' and 1 or 0,
}
"""

ANOTHERS = """
local left = {}
for id, order in pairs(a.unreadable) do
  local found = redis.call('HMGET', job(id), 'order', 'state')
  local wanted = found[2] == 'waiting' or found[2] == 'running' or redis.call('ZSCORE', key('deliveries'), id)
  if found[1] == order and wanted then table.insert(left, id) end
end
return left
"""
"""Which of the unreadable jobs a replica could still claim."""

FORGET_OBJECT = """
exceed_memory()
return redis.call('ZREM', key('objects'), a.object)
"""
