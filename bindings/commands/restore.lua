local restore = {
  usage = [[
usage: tidemark restore BACKUP DIR [--to-seq SEQ | --to-time TIME] [--json]

Makes DIR, which must be new or empty, a database from a backup, or from a database directory that no process has open for
writing. DIR appears when all of it is there.

  --to-seq   leave out all events behind this one
  --to-time  leave out all events with a later time: 2026-11-24T22:57:04.5Z, with another offset (+01:00), UTC without
             one; or microseconds since 1970. tidemark dump shows the events' times

With either, the new database gets an id of its own, for it gives the seqs behind out anew.

examples:
  tidemark restore backups/blog data/blog
  tidemark restore backups/blog data/yesterday --to-time 2026-11-24T00:00:00Z
]],
}

--- Days from 1970-01-01 to a date of the Gregorian calendar, which begins its years in March here; nil: there is no such day.
local function days(year, month, day)
  local lengths = { 31, year % 4 == 0 and (year % 100 ~= 0 or year % 400 == 0) and 29 or 28, 31, 30, 31, 30, 31, 31, 30,
    31, 30, 31 }
  if not lengths[month] or day < 1 or day > lengths[month] then return nil end
  if month <= 2 then year, month = year - 1, month + 12 end
  return 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day - 1 - 719468
end

--- Microseconds since 1970 of a date-time (RFC 3339; the offset may be missing: UTC), or of their own number; else nil.
function restore.time_us(text)
  if text:find "^%d+$" then return math.tointeger(tonumber(text)) end
  local year, month, day, hour, minute, second, rest =
    text:match "^(%d%d%d%d)%-(%d%d)%-(%d%d)[Tt ](%d%d):(%d%d):(%d%d)(.*)$"
  if not year then return nil end
  local fraction, zone = rest:match "^%.(%d+)(.*)$"
  zone = zone or rest
  local sign, zone_hour, zone_minute = zone:match "^([+-])(%d%d):(%d%d)$"
  if not sign and zone ~= "" and zone ~= "Z" and zone ~= "z" then return nil end
  local day_number = days(math.tointeger(year), math.tointeger(month), math.tointeger(day))
  if not day_number or tonumber(hour) > 23 or tonumber(minute) > 59 or tonumber(second) > 60 then return nil end
  local seconds = day_number * 86400 + hour * 3600 + minute * 60 + second
  if sign then
    local offset = zone_hour * 3600 + zone_minute * 60
    seconds = seconds + (sign == "+" and -offset or offset)
  end
  return math.tointeger(seconds * 1000000 + math.tointeger(((fraction or "") .. "000000"):sub(1, 6)))
end

function restore.main(common, arguments)
  local options, rest = common.parse(arguments, { ["to-seq"] = "number", ["to-time"] = "string", json = "flag" }, 2,
    restore.usage)
  if #rest < 2 or rest[1] == "" or rest[2] == "" then
    common.fail(2, "a backup and a directory are needed\n%s", restore.usage)
  end
  local seq, time = options["to-seq"], options["to-time"]
  if seq and time then common.fail(2, "--to-seq or --to-time, not both") end
  if seq and seq < 1 then common.fail(2, "--to-seq: seqs begin with 1") end
  local time_us = time and restore.time_us(time)
  if time and (not time_us or time_us < 1) then
    common.fail(2, "--to-time: %s is no date-time like 2026-11-24T22:57:04Z and no number of microseconds", time)
  end
  local update, finish = common.progress "restore"
  local result, message = require "tidemark.tools".restore(rest[1], rest[2], seq, time_us, update)
  finish()
  if not result then common.fail(3, "%s", message) end
  if options.json then
    common.write(('{"seq":%d,"last_time_us":%d,"files":%d,"bytes":%d,"database_id":"%s"}\n'):format(result.seq,
      result.last_time_us, result.files, result.bytes, result.database_id))
  else
    common.write(("restored up to seq %d: %d files, %d bytes\n"):format(result.seq, result.files, result.bytes))
  end
  return 0
end

return restore
