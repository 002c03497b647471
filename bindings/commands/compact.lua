local compact = {
  usage = [[
usage: tidemark compact DIR [--events-per-document N | --days N | --log-bytes N] [--json]

Makes the log smaller: removes events that are no longer wanted, for good. Documents stay what they are; what goes is their
history. Without an option only the newest event of each document stays, as with --events-per-document 1.

  --events-per-document N  the last N events of each document stay; of a deleted document nothing stays
  --days N                 events younger than N days stay
  --log-bytes N            the oldest segments are compacted until the log has at most N bytes
  --json                   the result as JSON

The newest event of each document always stays, and every event keeps its seq; dump tells what is gone as gaps. Segments of
which less than a tenth would go are left as they are. Works only while no process has the directory open (a program compacts
with db:compact(), or in the background with the option retain). Needs room for the largest segment once more. Interrupted at
any point, it leaves a whole database.

example:
  tidemark compact data/blog --events-per-document 10
]],
}

local names = { "events-per-document", "days", "log-bytes" }

--- The retention that the options ask for, with `prefix` before their names; nil without one.
function compact.retention(common, options, prefix)
  local retain
  for _, name in ipairs(names) do
    local limit = options[prefix .. name]
    if limit and retain then common.fail(2, "only one of --%s%s", prefix, table.concat(names, ", --" .. prefix)) end
    if limit then retain = { [name:gsub("-", "_")] = limit } end
  end
  return retain
end

function compact.main(common, arguments)
  local spec = { json = "flag" }
  for _, name in ipairs(names) do spec[name] = "number" end
  local options, rest = common.parse(arguments, spec, 1, compact.usage)
  if #rest < 1 then common.fail(2, "a directory is needed\n%s", compact.usage) end
  local retain = compact.retention(common, options, "") or { events_per_document = 1 }
  -- Opening would make a database where there is none.
  local file = io.open(rest[1] .. "/lock") or io.open(rest[1] .. "/events.raftlog")
  if not file then common.fail(3, "%s: there is no database", rest[1]) end
  file:close()
  local db <close> = common.open(rest[1])
  local update, finish = common.progress "compact"
  local ok, result, failure = pcall(require "tidemark.tools".compact, db, retain, update)
  finish()
  if not ok then common.fail_argument(result) end
  if not result then common.fail(3, "%s", failure) end
  if options.json then
    common.write(('{"segments":%d,"rewritten":%d,"removed":%d,"bytes_before":%d,"bytes_after":%d}\n'):format(
      result.segments, result.rewritten, result.removed, result.bytes_before, result.bytes_after))
  else
    common.write(("%d events removed from %d of %d segments: %d bytes, before %d\n"):format(result.removed,
      result.rewritten, result.segments, result.bytes_after, result.bytes_before))
  end
  return 0
end

return compact
