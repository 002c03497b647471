-- log_check.lua: reads a database's whole log again and compares it with what was done.
local tidemark = require "tidemark"

--- Reopens `path` and checks its log: `expected` is the number of events of each type; returns the documents as the log
--- alone tells them, by id.
return function(path, report, title, expected)
  local db <close> = assert(tidemark.open(path))
  local documents, counts = {}, { created = 0, updated = 0, deleted = 0 }
  local total, in_order, last_time = 0, true, 0
  for event in db:events() do
    total = total + 1
    in_order = in_order and event.seq == total and event.time_us >= last_time
    last_time = event.time_us
    counts[event.type] = (counts[event.type] or 0) + 1
    documents[event.id] = event.document
  end
  report.check(title .. ": events in the log", total, expected.created + expected.updated + expected.deleted)
  report.check(title .. ": events in chronological order", in_order, true)
  for _, kind in ipairs { "created", "updated", "deleted" } do
    if expected[kind] > 0 then report.check(("%s: events %s"):format(title, kind), counts[kind], expected[kind]) end
  end
  return documents, db:stats()
end
