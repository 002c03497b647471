local verify = {
  usage = [[
usage: tidemark verify DIR [--chain] [--head HASH] [--json]

Reads the whole log: checksums, the order of seqs, how segments join. Says what is damaged and whether a crash left a torn
tail, each with file, offset and seqs; and which snapshots are unfit. Works beside a process that has the directory open.

--chain: computes the hashes of a log with hash_chain again, and names the first seq that does not fit. --head: a hash
that info, or db:chain_head(), gave before, and that was kept elsewhere; says up to which seq the history is still the
one that it was taken of.

Exit status: 0 all is whole, 1 damage, a torn tail or an unfit snapshot was found, or a hash that does not fit, is
missing or was not found.

example:
  tidemark verify data/blog
  tidemark verify data/blog --head $(cat /mnt/elsewhere/head)
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

--- What was asked about the chain of hashes: nil, true, or the 32 bytes of the hash.
local function chain_wanted(common, options)
  local head = options.head
  if not head then return options.chain end
  if #head ~= 64 or head:find "%X" then common.fail(2, "--head: a hash of 64 hexadecimal digits is needed") end
  return (head:gsub("%x%x", function(digits) return string.char(tonumber(digits, 16)) end))
end

--- Whether the chain is as it was asked to be.
local function chain_fits(report, options)
  return report.chain_head ~= nil and report.chain_breaks == 0 and (not options.head or report.chain_vouched)
end

--- The chain as lines for people; broken_seq: of the first finding.
local function chain_lines(report, options, broken_seq)
  if not report.chain_head then return "no chain: the log was written without hash_chain\n" end
  local lines = {}
  if report.chain_breaks > 0 then
    lines[1] = ("chain: seq %d is the first that does not fit; breaks: %d\n"):format(broken_seq, report.chain_breaks)
  else
    lines[1] = ("chain: whole from seq %d to %d, head %s\n"):format(report.chain_first_seq, report.chain_seq, report.chain_head)
  end
  if options.head and report.chain_vouched then
    lines[2] = ("head: from seq %d to %d the history is the one that the hash was taken of\n"):format(
      report.chain_first_seq, report.chain_vouched_seq)
  elseif options.head then
    lines[2] = "head: no frame up to which all fits has this hash: what it was taken of is gone or changed\n"
  end
  return table.concat(lines)
end

local function chain_json(report, options, broken_seq)
  if not report.chain_head then return "null" end
  local text = ('{"first_seq":%d,"seq":%d,"head":"%s","breaks":%d'):format(report.chain_first_seq, report.chain_seq,
    report.chain_head, report.chain_breaks)
  if broken_seq then text = text .. (',"broken_seq":%d'):format(broken_seq) end
  if options.head then
    text = text .. ',"vouched_seq":' .. (report.chain_vouched and ("%d"):format(report.chain_vouched_seq) or "null")
  end
  return text .. "}"
end

function verify.main(common, arguments)
  local options, rest = common.parse(arguments, { json = "flag", chain = "flag", head = "string" }, 1, verify.usage)
  if #rest < 1 then common.fail(2, "a directory is needed\n%s", verify.usage) end
  local chain, broken_seq = chain_wanted(common, options), nil
  local update, finish = common.progress "verify"
  local report, message = require "tidemark.tools".verify(rest[1], function(finding)
    finish()
    if finding.kind == "chain" then broken_seq = broken_seq or finding.first_seq end
    common.write((options.json and verify.json or verify.line)(finding))
  end, update, chain)
  finish()
  if not report then common.fail(3, "%s", message) end
  local whole = report.damages == 0 and not report.torn and report.snapshots_bad == 0
    and not report.incomplete
  local fits = not chain or chain_fits(report, options)
  if options.json then
    common.write(('{"kind":"summary","whole":%s,"events":%d,"first_seq":%d,"last_seq":%d,"damages":%d,'
      .. '"missing_events":%d,"torn_bytes":%d,"snapshots":%d,"snapshots_bad":%d%s}\n'):format(tostring(whole and fits),
      report.events, report.first_seq, report.last_seq, report.damages, report.missing_events, report.torn_bytes,
      report.snapshots, report.snapshots_bad, chain and ',"chain":' .. chain_json(report, options, broken_seq) or ""))
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
  if chain and not options.json then common.write(chain_lines(report, options, broken_seq)) end
  return whole and fits and 0 or 1
end

return verify
