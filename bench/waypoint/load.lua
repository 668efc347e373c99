-- What wrk asks, as bench/load/requests.c does: one request of ten is the canary's, and half of the paths are those of routes
-- where there are thousands. Prints one JSON object at the end.
local requests, at = {}, 0

function init()
  for i = 0, 19 do
    local path = i % 2 == 1 and "/p" .. i * 263 .. "/item?page=" .. i or "/item/" .. i .. "?page=" .. i
    -- Not in lower case: wrk would add its own.
    local headers = { ["Host"] = "main.d.svc", ["user-agent"] = "bench", ["accept"] = "*/*" }
    if i % 10 == 0 then headers["x-canary"] = "yes" end
    requests[i] = wrk.format("GET", path, headers)
  end
end

function request()
  at = (at + 1) % 20
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('{"requests":%d,"us":%d,"p50_us":%d,"p99_us":%d,"failed":%d}\n', summary.requests,
    summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
