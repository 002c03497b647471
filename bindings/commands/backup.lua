local backup = {
  usage = [[
usage: tidemark backup DIR TARGET [--json]

Copies the log of the database DIR to TARGET, also while another process writes it. TARGET is made where it is missing; where it
is an earlier backup of the same database, only what is new is copied, and what is there is read and compared. Interrupted, it
leaves the earlier backup as it was, or one that verify calls incomplete; run it again. A backup is a directory that info,
verify, dump, export and restore read.

examples:
  tidemark backup data/blog backups/blog
  tidemark backup data/blog backups/$(date +%F)
]],
}

function backup.main(common, arguments)
  local options, rest = common.parse(arguments, { json = "flag" }, 2, backup.usage)
  if #rest < 2 or rest[1] == "" or rest[2] == "" then
    common.fail(2, "a directory and a target are needed\n%s", backup.usage)
  end
  local update, finish = common.progress "backup"
  local result, message = require "tidemark.tools".backup(rest[1], rest[2], update)
  finish()
  if not result then common.fail(3, "%s", message) end
  if options.json then
    common.write(('{"seq":%d,"time_us":%d,"files":%d,"bytes":%d,"files_copied":%d,"bytes_copied":%d}\n'):format(result.seq,
      result.time_us, result.files, result.bytes, result.files_copied, result.bytes_copied))
  else
    common.write(("backed up to seq %d: %d of %d files copied, %d of %d bytes\n"):format(result.seq, result.files_copied,
      result.files, result.bytes_copied, result.bytes))
  end
  return 0
end

return backup
