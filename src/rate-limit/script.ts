/** The Lua script that counts a batch of keys in Redis or Valkey: one round trip, and atomic. */
import { createHash } from 'node:crypto';

/**
 * Counts in fixed windows by the clock of Redis, so the clocks of the replicas do not matter. A window is a number: a clock that is set back
 * or forward begins a window, and does not keep a former one. For each counter there are two KEYS (the counter, and how many counters its
 * caller has made in this window) and seven ARGV (limit, hits, milliseconds of the unit, greatest number of counters, client, its group, the
 * counter of that client's further values).
 * Clients share the counters of their caller as in FairLimit: a client has at most half of them, a group two thirds. A client beyond its share
 * has one counter for all further values of a limit, so it takes no counter from others and gets no more hits by inventing values.
 * Returns for each counter: granted hits (-1: there is no counter left for it), hits that are left, milliseconds to the end of the window, and
 * 1 if the counter is that of further values.
 */
export const countScript = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function read(key, window)
  local value = redis.call('GET', key)
  if not value then return nil end
  local of, count = string.match(value, '^(%d+):(%d+)$')
  if tonumber(of) ~= window then return nil end
  return tonumber(count)
end
local function write(key, window, count, unit)
  redis.call('SET', key, string.format('%.0f:%.0f', window, count), 'PX', 2 * unit)
end
local function share(made, client, group, max, window, unit)
  local clientKey, groupKey = made .. ':c:' .. client, made .. ':g:' .. group
  local all = read(made, window) or 0
  local ofClient, ofGroup = read(clientKey, window) or 0, read(groupKey, window) or 0
  local free = max - all
  if free <= 0 or ofClient >= free or ofGroup >= 2 * free then return false end
  write(made, window, all + 1, unit)
  write(clientKey, window, ofClient + 1, unit)
  write(groupKey, window, ofGroup + 1, unit)
  return true
end
local result = {}
for i = 1, #KEYS / 2 do
  local counter, made, at = KEYS[2 * i - 1], KEYS[2 * i], 7 * i - 7
  local limit, hits, unit, max =
    tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local client, group = ARGV[at + 5], ARGV[at + 6]
  local window = math.floor(now / unit)
  local used = read(counter, window)
  local granted = -1
  local isRest = 0
  if not used and share(made, client, group, max, window, unit) then used = 0 end
  if not used then
    isRest = 1
    counter = made .. ':r:' .. ARGV[at + 7]
    used = read(counter, window)
    if not used and share(made .. ':rest', client, group, max / 16, window, unit) then used = 0 end
  end
  if used then
    granted = math.max(0, math.min(hits, limit - used))
    if granted > 0 then
      used = used + granted
      write(counter, window, used, unit)
    end
  end
  result[4 * i - 3] = granted
  result[4 * i - 2] = math.max(0, limit - (used or 0))
  result[4 * i - 1] = unit - now % unit
  result[4 * i] = isRest
end
return result
`;

export const countScriptSha = createHash('sha1').update(countScript).digest('hex');
