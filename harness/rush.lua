-- What wrk sends: paths picked at random out of a file, one a line: rush.lua <file>. At the end it prints what
-- harness/rush.py reads.

local paths = {}
local thread_of_all
-- Not local: read from the thread at the end.
statuses = {}

function setup(thread)
  thread_of_all = thread
end

function init(args)
  for line in io.lines(args[1]) do
    paths[#paths + 1] = wrk.format("GET", line)
  end
end

function request()
  return paths[math.random(#paths)]
end

function response(status)
  local name = "status " .. status
  statuses[name] = (statuses[name] or 0) + 1
end

function done(summary, latency)
  local counts = {}
  for name, count in pairs(thread_of_all:get("statuses")) do
    counts[#counts + 1] = string.format('"%s": %d', name, count)
  end
  local errors = summary.errors
  io.write(string.format(
    '{"seconds": %.6f, "p99": %.3f, "answers": {%s}, "unanswered": %d}\n',
    summary.duration / 1e6, latency:percentile(99) / 1e3, table.concat(counts, ", "),
    errors.connect + errors.read + errors.write + errors.timeout
  ))
end
