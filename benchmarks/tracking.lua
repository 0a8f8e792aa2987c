-- Requests that differ from one to the next, for wrk. OP: create | metric | batch; RUNS: run ids joined by ','.
local op = os.getenv("OP")
local runs = {}
for r in string.gmatch(os.getenv("RUNS") or "", "[^,]+") do runs[#runs + 1] = r end
local experiment = os.getenv("EXPERIMENT") or "0"
local base = tonumber(os.getenv("BASE") or "0")
local n = 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local paths = {
  create = "/api/2.0/mlflow/runs/create",
  metric = "/api/2.0/mlflow/runs/log-metric",
  batch = "/api/2.0/mlflow/runs/log-batch",
}
function request()
  n = n + 1
  local t = 1700000000000 + base + n
  local run = runs[n % #runs + 1]
  local body
  if op == "create" then
    body = string.format('{"experiment_id":"%s","start_time":%d,"run_name":"r%d"}', experiment, t, n)
  elseif op == "metric" then
    body = string.format('{"run_id":"%s","key":"m%d","value":%.6f,"timestamp":%d,"step":%d}', run, n % 10, 1 / n, t, base + n)
  else
    local parts = {}
    for i = 0, 999 do
      parts[i + 1] = string.format('{"key":"m%d","value":%.6f,"timestamp":%d,"step":%d}', i % 10, 1 / (n + i), t, base + n * 100 + math.floor(i / 10))
    end
    body = '{"run_id":"' .. run .. '","metrics":[' .. table.concat(parts, ",") .. "]}"
  end
  return wrk.format("POST", paths[op], nil, body)
end
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('{"per_s": %.3f, "p50_ms": %.4f, "p99_ms": %.4f, "errors": %d}\n',
    summary.requests / (summary.duration / 1e6), latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    e.status + e.connect + e.read + e.write + e.timeout))
end
