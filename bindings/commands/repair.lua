local repair = {
  usage = [[
usage: tidemark repair DIR

Cuts out of the log what verify calls damaged, and a torn tail. What is removed goes to a side file, removed-*.raftlog;
every other event keeps its seq and time. Asks nothing; works only while no process has the directory open.

example:
  tidemark verify data/blog || tidemark repair data/blog
]],
}

function repair.main(common, arguments)
  local _, rest = common.parse(arguments, {}, 1, repair.usage)
  if #rest < 1 then common.fail(2, "a directory is needed\n%s", repair.usage) end
  local update, finish = common.progress "repair"
  local report, message = require "tidemark.tools".repair(rest[1], function(finding)
    if finding.kind == "gap" then return end
    finish()
    common.write(require "tidemark.commands.verify".line(finding))
  end, update)
  finish()
  if not report then common.fail(3, "%s", message) end
  if report.damages == 0 and not report.torn then
    common.write "nothing to repair\n"
  else
    common.write(("repaired: %d events kept, %d missing"):format(report.events, report.missing_events),
      report.removed_file ~= "" and (", %d bytes moved to %s"):format(report.removed_bytes, report.removed_file) or "",
      "\n")
  end
  return 0
end

return repair
