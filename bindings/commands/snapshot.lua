local snapshot = {
  usage = [[
usage: tidemark snapshot DIR [--json]

Opens the database and writes a snapshot: all documents as of now, in one file, from which the next opening starts instead of
from the log's beginning. A process that has the directory open makes its own (db:snapshot(), or by itself as the log grows).

example:
  tidemark snapshot data/blog
]],
}

function snapshot.main(common, arguments)
  local options, rest = common.parse(arguments, { json = "flag" }, 1, snapshot.usage)
  if #rest < 1 then common.fail(2, "a directory is needed\n%s", snapshot.usage) end
  local tools = require "tidemark.tools"
  local known, fault = tools.snapshots(rest[1]) -- opening would create what isn't there
  if not known then common.fail(3, "%s", fault) end
  local db <close> = common.open(rest[1])
  local start = tools.monotonic()
  local seq, message = db:snapshot()
  if not seq then common.fail(3, "%s", message) end
  local seconds, stats = tools.monotonic() - start, db:stats()
  local format = options.json and '{"seq":%d,"documents":%d,"bytes":%d,"seconds":%.3f}\n'
    or "snapshot of seq %d: %d documents, %d bytes, in %.3f s\n"
  common.write(format:format(seq, stats.snapshot_documents, stats.snapshot_bytes, seconds))
  return 0
end

return snapshot
