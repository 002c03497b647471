-- report.lua: the table of `make run`, and the clock.
local uv = require "luv"

local report = {}
local rows = {}

--- Seconds since some fixed moment.
function report.clock()
  return uv.hrtime() / 1e9
end

--- A measured row. required: { rate = } and/or { seconds = }; nil: nothing was required.
function report.rate(what, count, seconds, required)
  local rate = count / seconds
  local met, text = true, ""
  if required then
    met = (not required.rate or rate > required.rate) and (not required.seconds or seconds < required.seconds)
    text = required.seconds and ("< %g s, "):format(required.seconds) or ""
    text = text .. ("> %d/s"):format(required.rate)
  end
  rows[#rows + 1] = { what, ("%.3f s"):format(seconds), ("%d/s"):format(rate // 1), text, met, required ~= nil }
end

--- A row that is right or wrong.
function report.check(what, found, expected)
  rows[#rows + 1] = { what, "", tostring(found), tostring(expected), found == expected, true }
end

--- A figure that must stay under a bound.
function report.below(what, found, bound)
  rows[#rows + 1] = { what, "", ("%.3f"):format(found), ("< %g"):format(bound), found < bound, true }
end

function report.met()
  for _, row in ipairs(rows) do
    if not row[5] then return false end
  end
  return #rows > 0
end

function report.print()
  local heads = { "what", "time", "rate or result", "required", "" }
  local widths = {}
  for i = 1, 4 do
    widths[i] = #heads[i]
    for _, row in ipairs(rows) do widths[i] = math.max(widths[i], #row[i]) end
  end
  local format = ("%%-%ds  %%%ds  %%%ds  %%%ds  %%s"):format(widths[1], widths[2], widths[3], widths[4])
  print(format:format(table.unpack(heads)))
  for _, row in ipairs(rows) do
    print(format:format(row[1], row[2], row[3], row[4], not row[6] and "" or row[5] and "met" or "MISSED"))
  end
end

return report
