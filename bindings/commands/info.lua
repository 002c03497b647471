local info = {
  usage = [[
usage: tidemark info DIR [--json]

Tells what the directory holds: documents, collections, the log, snapshots. Works beside a process that has it open.

example:
  tidemark info data/blog
]],
}

local function when(time_us)
  return time_us > 0 and os.date("!%Y-%m-%dT%H:%M:%SZ", time_us // 1000000) or "-"
end

function info.main(common, arguments)
  local options, rest = common.parse(arguments, { json = "flag" }, 1, info.usage)
  if #rest < 1 then common.fail(2, "a directory is needed\n%s", info.usage) end
  local tools = require "tidemark.tools"
  local report, message = tools.verify(rest[1], function() end, function() end)
  if not report then common.fail(3, "%s", message) end
  local snapshots = tools.snapshots(rest[1]) or {}
  local documents = {}
  local db <close> = require "tidemark".open(rest[1], { read_only = true })
  if db then
    for _, name in ipairs(tools.collections(db)) do documents[#documents + 1] = { name, #db:collection(name) } end
    table.sort(documents, function(a, b) return a[1] < b[1] end)
  end
  local rows = {
    { "database_id", report.database_id }, { "format_version", report.format_version }, { "segments", report.segments },
    { "log_bytes", report.log_bytes }, { "frames", report.frames }, { "events", report.events },
    { "first_seq", report.first_seq }, { "last_seq", report.last_seq }, { "created", report.created },
    { "updated", report.updated }, { "deleted", report.deleted }, { "damages", report.damages },
    { "compacted_events", report.compacted_events },
    { "torn_bytes", report.torn_bytes }, { "clean_close", report.clean_close }, { "in_use", report.in_use },
  }
  if report.backup then
    rows[#rows + 1] = { "backup_seq", report.backup_seq }
    rows[#rows + 1] = { "backup_time", when(report.backup_time_us) }
    rows[#rows + 1] = { "incomplete", report.incomplete }
  end
  if report.chain_head then
    for _, name in ipairs { "chain_first_seq", "chain_seq", "chain_head" } do rows[#rows + 1] = { name, report[name] } end
  end
  if options.json then
    local parts = {}
    for _, row in ipairs(rows) do
      parts[#parts + 1] = ('"%s":%s'):format(row[1], type(row[2]) == "string" and '"' .. row[2] .. '"' or tostring(row[2]))
    end
    parts[#parts + 1] = ('"first_time_us":%d,"last_time_us":%d'):format(report.first_time_us, report.last_time_us)
    if report.backup then parts[#parts + 1] = ('"backup_time_us":%d'):format(report.backup_time_us) end
    local collections = {}
    for i, row in ipairs(documents) do collections[i] = ('"%s":%d'):format(row[1], row[2]) end
    local told = {}
    for i, file in ipairs(snapshots) do
      told[i] = ('{"file":"%s","seq":%d,"documents":%d,"bytes":%d,"created_us":%d,"fault":%s}'):format(file.file, file.seq,
        file.documents, file.bytes, file.created_us, file.fault and '"' .. file.fault:gsub('[%c"\\]', " ") .. '"' or "null")
    end
    parts[#parts + 1] = '"snapshots":[' .. table.concat(told, ",") .. "]"
    parts[#parts + 1] = '"collections":{' .. table.concat(collections, ",") .. "}"
    common.write("{", table.concat(parts, ","), "}\n")
    return 0
  end
  for _, row in ipairs(rows) do common.write(("%-16s %s\n"):format((row[1]:gsub("_", " ")), tostring(row[2]))) end
  common.write(("%-16s %s\n%-16s %s\n"):format("first event", when(report.first_time_us), "last event",
    when(report.last_time_us)))
  for _, file in ipairs(snapshots) do
    common.write(("snapshot %s: %s\n"):format(file.file, file.fault or ("%d documents, %d bytes, %s"):format(file.documents,
      file.bytes, when(file.created_us))))
  end
  if not db then common.write("the documents can't be read: see tidemark verify\n") end
  for _, row in ipairs(documents) do common.write(("collection %s: %d documents\n"):format(row[1], row[2])) end
  return 0
end

return info
