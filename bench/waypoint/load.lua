-- What wrk asks, as bench/load/requests.c does: one request of ten is the canary's, and half of the paths are those of routes
-- where there are thousands. Prints one JSON object at the end.
-- With a number after `--`: as many requests in turn, each with a value of its own in x-user.
local requests, at, kinds = {}, 0, 20

function init(args)
  local keys = tonumber(args[1] or "")
  if keys then kinds = keys end
  for i = 0, kinds - 1 do
    local path = i % 2 == 1 and "/p" .. i % 20 * 263 .. "/item?page=" .. i or "/item/" .. i .. "?page=" .. i
    -- Not in lower case: wrk would add its own.
    local headers = { ["Host"] = "main.d.svc", ["user-agent"] = "bench", ["accept"] = "*/*" }
    if keys then headers["x-user"] = "user-" .. i end
    if i % 10 == 0 then headers["x-canary"] = "yes" end
    requests[i] = wrk.format("GET", path, headers)
  end
end

function request()
  at = (at + 1) % kinds
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('{"requests":%d,"us":%d,"p50_us":%d,"p99_us":%d,"failed":%d}\n', summary.requests,
    summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
