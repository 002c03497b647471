local verify = {
  usage = [[
usage: tidemark verify DIR [--json]

Reads the whole log: checksums, the order of seqs, how segments join. Says what is damaged and whether a crash left a torn
tail, each with file, offset and seqs; and which snapshots are unfit. Works beside a process that has the directory open.

Exit status: 0 all is whole, 1 damage, a torn tail or an unfit snapshot was found.

example:
  tidemark verify data/blog
]],
}

local function seqs(finding)
  if finding.first_seq == 0 then return "" end
  if finding.last_seq <= finding.first_seq then return (" (seq %d)"):format(finding.first_seq) end
  return (" (seqs %d to %d)"):format(finding.first_seq, finding.last_seq)
end

--- A finding as a line for people.
function verify.line(finding)
  if finding.kind == "snapshot" then return ("snapshot: %s: %s\n"):format(finding.file, finding.message) end
  return ("%s: %s: offset %d: %s%s\n"):format(finding.kind, finding.file, finding.offset, finding.message, seqs(finding))
end

function verify.json(finding)
  return ('{"kind":"%s","file":"%s","offset":%d,"bytes":%d,"first_seq":%d,"last_seq":%d,"message":"%s"}\n'):format(
    finding.kind, finding.file, finding.offset, finding.bytes, finding.first_seq, finding.last_seq,
    (finding.message:gsub('[%c"\\]', " ")))
end

function verify.main(common, arguments)
  local options, rest = common.parse(arguments, { json = "flag" }, 1, verify.usage)
  if #rest < 1 then common.fail(2, "a directory is needed\n%s", verify.usage) end
  local update, finish = common.progress "verify"
  local report, message = require "tidemark.tools".verify(rest[1], function(finding)
    finish()
    common.write((options.json and verify.json or verify.line)(finding))
  end, update)
  finish()
  if not report then common.fail(3, "%s", message) end
  local whole = report.damages == 0 and not report.torn and report.snapshots_bad == 0
    and not report.incomplete
  if options.json then
    common.write(('{"kind":"summary","whole":%s,"events":%d,"first_seq":%d,"last_seq":%d,"damages":%d,'
      .. '"missing_events":%d,"torn_bytes":%d,"snapshots":%d,"snapshots_bad":%d}\n'):format(tostring(whole), report.events,
      report.first_seq, report.last_seq, report.damages, report.missing_events, report.torn_bytes, report.snapshots,
      report.snapshots_bad))
  elseif whole then
    common.write(("whole: %d events in %d segments, %d bytes\n"):format(report.events, report.segments, report.log_bytes))
  elseif report.incomplete then
    common.write "an incomplete backup: tidemark backup completes it\n"
  elseif report.damages > 0 and report.backup then
    common.write(("%d damages, %d events missing; tidemark backup copies them again, if the database still has them\n"):format(
      report.damages, report.missing_events))
  elseif report.damages > 0 then
    common.write(("%d damages, %d events missing; tidemark repair cuts them out\n"):format(report.damages,
      report.missing_events))
  elseif report.torn then
    common.write "a torn tail, as a crash leaves it: opening the database cuts it\n"
  else
    common.write "the log is whole; opening does without the snapshots named above\n"
  end
  return whole and 0 or 1
end

return verify
