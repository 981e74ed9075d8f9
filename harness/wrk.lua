-- The requests that wrk sends: a random choice out of a file, one a line: method, path, token, ETag and body,
-- parted by tabs. wrk.lua <file> <seed> [statuses]. At the end it prints the line that harness/wrk.py reads. `statuses` has it
-- count the responses of each status, which costs wrk time for each.

local requests = {}
local thread_of_all
-- Not local: read from the thread at the end.
statuses = {}

local function count(status)
  statuses[status] = (statuses[status] or 0) + 1
end

function setup(thread)
  thread_of_all = thread
end

function init(args)
  math.randomseed(tonumber(args[2]))
  if args[3] == "statuses" then
    response = count
  end
  for line in io.lines(args[1]) do
    local method, path, token, etag, body = line:match("^(.-)\t(.-)\t(.-)\t(.-)\t(.*)$")
    -- As a page of another origin sends it.
    local headers = { ["Content-Type"] = "application/json", ["Origin"] = "http://localhost:3000" }
    if token ~= "" then
      headers["Authorization"] = "Bearer " .. token
    end
    if etag ~= "" then
      headers["If-None-Match"] = etag
    end
    if body == "" then
      body = nil
    end
    requests[#requests + 1] = wrk.format(method, path, headers, body)
  end
end

function request()
  return requests[math.random(#requests)]
end

function done(summary, latency)
  local counts = {}
  for status, number in pairs(thread_of_all:get("statuses")) do
    counts[#counts + 1] = string.format('"%d": %d', status, number)
  end
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "p50": %.3f, "p99": %.3f, "answers": {%s}, "faults": '
      .. '{"not 200": %d, "not connected": %d, "read errors": %d, "write errors": %d, "timeouts": %d}}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    table.concat(counts, ", "), errors.status, errors.connect, errors.read, errors.write, errors.timeout
  ))
end
