-- page.lua: the report as one page, nothing from elsewhere. Bars with marks from the slowest to the fastest round, latency
-- as curves over percentiles, rates over time; SVG, drawn here.
local page = {}

local STYLE = [[
:root{color-scheme:light dark;--page:#fafaf8;--card:#fff;--text:#1b1c1d;--soft:#666a70;--line:#dcdcd6;--own:#1f6fb2;
--other:#b9bcc2;--top:#d9a441;--good:#1d7a3a;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--page:#17181a;--card:#202225;--text:#e9e9e6;--soft:#a0a4aa;--line:#3a3d41;
--own:#6db3f2;--other:#6b6f76;--top:#c9973e;--good:#74c98b;--bad:#f2857c}}
body{margin:0;background:var(--page);color:var(--text);font:15px/1.5 system-ui,sans-serif}
main{max-width:62rem;margin:0 auto;padding:1.5rem 1rem 3rem}h1{font-size:1.35rem}h2{font-size:1rem;margin:0 0 .5rem}
section{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.8rem 1rem;margin:0 0 .75rem;
overflow-x:auto}
p{color:var(--soft)}table{border-collapse:collapse;width:100%}th,td{text-align:right;padding:.2rem .4rem;
border-bottom:1px solid var(--line);font-variant-numeric:tabular-nums}th:first-child,td:first-child{text-align:left}
.met{color:var(--good)}.missed{color:var(--bad);font-weight:600}svg{display:block;width:100%;height:auto;min-width:34rem}
svg text{fill:var(--text);font:12px system-ui,sans-serif}.soft{fill:var(--soft)}.own{fill:var(--own)}.other{fill:var(--other)}
.top{fill:var(--top)}.mark{stroke:var(--text);stroke-width:1.5}.grid{stroke:var(--line)}.curve{fill:none;stroke-width:2}
]]

local COLOURS = { tidemark = "var(--own)", ceiling = "var(--top)", sketch = "#c9973e", lmdb = "#2a9d5c",
  rocksdb = "#c4501b", leveldb = "#8a5fc7", wiredtiger = "#b8487e", sqlite = "#5d8a9c" }

local ESCAPES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }
local function escape(text) return (tostring(text):gsub('[&<>"]', ESCAPES)) end

local function short(value)
  if value >= 1e6 then return ("%.3g M"):format(value / 1e6) end
  if value >= 1e3 then return ("%.3g k"):format(value / 1e3) end
  return ("%.3g"):format(value)
end

local function bars(line)
  local out, highest = {}, 0
  for _, name in ipairs(line.order) do highest = math.max(highest, line.contenders[name].high) end
  local function x_of(value) return 110 + 480 * value / highest end
  local height = 26 * #line.order + 6
  out[1] = ('<svg class="bars" viewBox="0 0 760 %d" role="img" aria-label="%s">'):format(height, escape(line.title))
  for i, name in ipairs(line.order) do
    local each, y = line.contenders[name], 26 * (i - 1) + 4
    local class = name == "tidemark" and "own" or (name == "ceiling" or name == "constant") and "top" or "other"
    out[#out + 1] = ('<text x="104" y="%d" text-anchor="end">%s</text>'):format(y + 14, escape(name))
    out[#out + 1] = ('<rect class="%s" x="110" y="%d" width="%.1f" height="18"/>'):format(class, y, x_of(each.rate) - 110)
    out[#out + 1] = ('<path class="mark" d="M%.1f %dH%.1fM%.1f %dv8M%.1f %dv8"/>'):format(x_of(each.low), y + 9, x_of(each.high),
      x_of(each.low), y + 5, x_of(each.high), y + 5)
    out[#out + 1] = ('<text class="soft" x="%.1f" y="%d">%s/s</text>'):format(x_of(each.high) + 8, y + 14, short(each.rate))
  end
  out[#out + 1] = "</svg>"
  return table.concat(out, "\n")
end

local PERCENTS = { { 50, "p50_us" }, { 90, "p90_us" }, { 99, "p99_us" }, { 99.9, "p99_9_us" }, { 99.99, "p99_99_us" } }

local function percentiles(line)
  local out, low, high = {}, math.huge, 0
  for _, name in ipairs(line.order) do
    local each = line.contenders[name]
    if each.p50_us then
      low, high = math.min(low, each.p50_us), math.max(high, each.p99_99_us)
    end
  end
  low, high = 10 ^ math.floor(math.log(math.max(low, 0.01), 10)), 10 ^ math.ceil(math.log(high, 10))
  local function y_of(value) return 200 - 180 * math.log(value / low, 10) / math.log(high / low, 10) end
  out[1] = ('<svg class="curves" viewBox="0 0 760 240" role="img" aria-label="latency: %s">'):format(escape(line.title))
  local tick = low
  while tick <= high * 1.01 do
    out[#out + 1] = ('<line class="grid" x1="80" x2="620" y1="%.1f" y2="%.1f"/>'):format(y_of(tick), y_of(tick))
    out[#out + 1] = ('<text class="soft" x="74" y="%.1f" text-anchor="end">%s us</text>'):format(y_of(tick) + 4, short(tick))
    tick = tick * 10
  end
  for i, percent in ipairs(PERCENTS) do
    out[#out + 1] = ('<text class="soft" x="%d" y="222" text-anchor="middle">%g %%</text>'):format(80 + (i - 1) * 135, percent[1])
  end
  for i, name in ipairs(line.order) do
    local each, points = line.contenders[name], {}
    for k, percent in ipairs(PERCENTS) do
      local value = each[percent[2]]
      if value then points[#points + 1] = ("%d,%.1f"):format(80 + (k - 1) * 135, y_of(math.max(value, low))) end
    end
    local colour = COLOURS[name] or "var(--other)"
    out[#out + 1] = ('<polyline class="curve" stroke="%s" points="%s"/>'):format(colour, table.concat(points, " "))
    out[#out + 1] = ('<text x="640" y="%d" style="fill:%s">%s</text>'):format(14 + 18 * i, colour, escape(name))
  end
  out[#out + 1] = "</svg>"
  return table.concat(out, "\n")
end

--- Values over time, evenly spaced, as a curve from 0 up to the highest.
function page.series(values, label, unit, seconds)
  local highest, points = 0, {}
  for _, value in ipairs(values) do highest = math.max(highest, value) end
  for i, value in ipairs(values) do
    points[i] = ("%.1f,%.1f"):format(80 + 640 * (i - 1) / math.max(1, #values - 1), 190 - 170 * value / math.max(highest, 1e-9))
  end
  return table.concat({
    ('<svg class="series" viewBox="0 0 760 220" role="img" aria-label="%s">'):format(escape(label)),
    '<line class="grid" x1="80" x2="720" y1="190" y2="190"/>',
    ('<text class="soft" x="74" y="24" text-anchor="end">%s%s</text>'):format(short(highest), escape(unit)),
    '<text class="soft" x="74" y="194" text-anchor="end">0</text>',
    ('<text class="soft" x="720" y="208" text-anchor="end">%g s</text>'):format(seconds),
    ('<polyline class="curve" stroke="var(--own)" points="%s"/></svg>'):format(table.concat(points, " ")),
  }, "\n")
end

local function series(line)
  local rates = line.contenders.tidemark.rates
  return page.series(rates, "rate over time", "/s", #rates / 10)
end

page.style, page.escape = STYLE, escape

--- The page of a report as bench.lua makes it; `report.lines` is an array.
function page.make(report)
  local out = { '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
    "<title>Tidemark, bench</title><style>", STYLE, "</style><main><h1>Tidemark beside its peers</h1>" }
  local machine = report.machine
  out[#out + 1] = ("<p>%s, %d processors, %s, %s; %s UTC. Medians of %d rounds, contenders in turns; the marks reach from the "
    .. "slowest to the fastest round. %d documents in the large lines.</p>"):format(escape(machine.processor), machine.processors,
    escape(machine.kernel), escape(machine.file_system), escape(machine.date), report.rounds, report.documents)
  out[#out + 1] = "<section><h2>Goals</h2><table><tr><th>what</th><th>measured</th><th>goal</th><th></th></tr>"
  for _, goal in ipairs(report.goals) do
    out[#out + 1] = ('<tr><td>%s</td><td>%s</td><td>%s %g</td><td class="%s">%s</td></tr>'):format(escape(goal.text),
      goal.value and ("%.2f"):format(goal.value) or "–", goal.lower and "≥" or "≤", goal.bound, goal.met and "met" or "missed",
      not goal.value and "not measured" or goal.met and "met" or "missed")
  end
  out[#out + 1] = "</table></section>"
  for _, line in ipairs(report.lines) do
    out[#out + 1] = ('<section id="%s"><h2>%s</h2>'):format(escape(line.name), escape(line.title))
    out[#out + 1] = #line.order > 0 and bars(line) or "<p>nobody could be measured</p>"
    if line.latency and #line.order > 0 then out[#out + 1] = percentiles(line) end
    if line.series and line.contenders.tidemark then out[#out + 1] = series(line) end
    out[#out + 1] = "</section>"
  end
  out[#out + 1] = "<section><h2>Settings</h2><table>"
  for name, settings in pairs(report.settings) do
    out[#out + 1] = ('<tr><td>%s</td><td style="text-align:left">%s</td></tr>'):format(escape(name), escape(settings))
  end
  out[#out + 1] = "</table></section></main></html>\n"
  return table.concat(out, "\n")
end

return page
