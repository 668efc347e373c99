/** The Lua script that counts a batch of keys in Redis or Valkey: one round trip, and atomic. */
import { createHash } from 'node:crypto';

/**
 * Counts in fixed windows by the clock of Redis, so the clocks of the replicas do not matter. A window is a number: a clock that is set back
 * or forward begins a window, and does not keep a former one. For each counter there are two KEYS (the counter, and how many counters its
 * caller has made in this window) and four ARGV (limit, hits, milliseconds of the unit, greatest number of counters).
 * Returns for each counter: granted hits (-1: its caller has too many counters), hits that are left, milliseconds to the end of the window.
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
local result = {}
for i = 1, #KEYS / 2 do
  local counter, made = KEYS[2 * i - 1], KEYS[2 * i]
  local limit, hits, unit, max =
    tonumber(ARGV[4 * i - 3]), tonumber(ARGV[4 * i - 2]), tonumber(ARGV[4 * i - 1]), tonumber(ARGV[4 * i])
  local window = math.floor(now / unit)
  local used = read(counter, window)
  local granted = -1
  if not used then
    local count = read(made, window) or 0
    if count < max then
      write(made, window, count + 1, unit)
      used = 0
    end
  end
  if used then
    granted = math.max(0, math.min(hits, limit - used))
    if granted > 0 then
      used = used + granted
      write(counter, window, used, unit)
    end
  end
  result[3 * i - 2] = granted
  result[3 * i - 1] = math.max(0, limit - (used or 0))
  result[3 * i] = unit - now % unit
end
return result
`;

export const countScriptSha = createHash('sha1').update(countScript).digest('hex');
