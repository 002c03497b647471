-- load_html.lua: the report as one page without anything from elsewhere. The charts are SVG, drawn here.
local html = {}

local WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 260, 64, 16, 14, 34

local STYLE = [[
:root{color-scheme:light dark;--page:#fafaf8;--card:#fff;--text:#1b1c1d;--soft:#666a70;--line:#dcdcd6;--one:#1f6fb2;
--two:#c4501b;--bad:#b3261e;--good:#1d7a3a}
@media(prefers-color-scheme:dark){:root{--page:#17181a;--card:#202225;--text:#e9e9e6;--soft:#a0a4aa;--line:#3a3d41;
--one:#6db3f2;--two:#f29a66;--bad:#f2857c;--good:#74c98b}}
*{box-sizing:border-box}body{margin:0;background:var(--page);color:var(--text);font:15px/1.5 system-ui,sans-serif}
main{max-width:60rem;margin:0 auto;padding:1.5rem 1rem 3rem}h1{font-size:1.35rem;margin:0}h2{font-size:1rem;margin:0 0 .5rem}
p{color:var(--soft);margin:.25rem 0 1rem}.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));
gap:.75rem;margin:1rem 0}section,.tile{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.8rem 1rem}
section{margin:0 0 .75rem;overflow-x:auto}
.tile b{display:block;font-size:1.4rem;font-weight:600;font-variant-numeric:tabular-nums}
.tile span,.key{color:var(--soft);font-size:.85rem}.note{border-left:4px solid var(--two)}.tables{display:grid;
grid-template-columns:repeat(auto-fit,minmax(16rem,1fr));gap:.75rem;align-items:start}table{border-collapse:collapse;width:100%}
th,td{text-align:right;padding:.2rem .3rem;border-bottom:1px solid var(--line);font-variant-numeric:tabular-nums}
th:first-child,td:first-child{text-align:left}th{font-weight:600;color:var(--soft)}.bad{color:var(--bad);font-weight:600}
.good{color:var(--good);font-weight:600}svg{display:block;width:100%;height:auto;min-width:32rem}
svg text{fill:var(--soft);font:12px system-ui,sans-serif}.grid{stroke:var(--line);stroke-width:1}
.one,.two{fill:none;stroke-width:2;stroke-linejoin:round}.one{stroke:var(--one)}.two{stroke:var(--two)}
.area{fill:var(--one);opacity:.14}.errors{fill:var(--bad)}.hover{fill:transparent}.hover:hover{fill:var(--soft);fill-opacity:.15}
.dot{display:inline-block;width:.7rem;height:.7rem;border-radius:2px;margin:0 .3rem 0 .8rem}
]]

local ESCAPES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }
local function escape(text) return (tostring(text):gsub('[&<>"]', ESCAPES)) end

local function short(value)
  if value == 0 then return "0" end
  if value >= 1e6 then return ("%.3gM"):format(value / 1e6) end
  if value >= 1e4 then return ("%.3gk"):format(value / 1e3) end
  return value >= 1000 and ("%.0f"):format(value) or ("%.3g"):format(value)
end

--- Steps of 1, 2 or 5 times a power of ten: about `wanted` of them up to `maximum`.
local function ticks(maximum, wanted)
  if maximum <= 0 then maximum = 1 end
  local raw = maximum / wanted
  local power = 10 ^ math.floor(math.log(raw, 10))
  local step = power * 10
  for _, factor in ipairs { 1, 2, 5 } do
    if factor * power >= raw then
      step = factor * power
      break
    end
  end
  local list = {}
  for i = 0, math.ceil(maximum / step - 1e-9) do list[#list + 1] = i * step end
  return list
end

local function frame(title, label, x_ticks, y_ticks, x_of, y_of)
  local out = { ('<svg viewBox="0 0 %d %d" role="img" aria-label="%s">'):format(WIDTH, HEIGHT, escape(title)) }
  for _, tick in ipairs(y_ticks) do
    local y = y_of(tick)
    out[#out + 1] = ('<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%s</text>')
      :format(LEFT, WIDTH - RIGHT, y, y, LEFT - 8, y + 4, short(tick))
  end
  for _, tick in ipairs(x_ticks) do
    out[#out + 1] = ('<text x="%.1f" y="%d" text-anchor="middle">%s</text>'):format(x_of(tick[1]), HEIGHT - BOTTOM + 18, tick[2])
  end
  out[#out + 1] = ('<text x="%d" y="%d" text-anchor="end">%s</text>'):format(WIDTH - RIGHT, HEIGHT - 2, escape(label))
  return out
end

local function points(list)
  local parts = {}
  for i, point in ipairs(list) do parts[i] = ("%.1f,%.1f"):format(point[1], point[2]) end
  return table.concat(parts, " ")
end

local function hover(out, x, width, text)
  out[#out + 1] = ('<rect class="hover" x="%.1f" y="%d" width="%.1f" height="%d"><title>%s</title></rect>'):format(x, TOP, width,
    HEIGHT - TOP - BOTTOM, escape(text))
end

--- Latency by percentile: the axis is stretched so that each 9 takes as much room, both scales are logarithmic.
local function percentile_chart(latency)
  if #latency == 0 then return "<p>nothing was measured</p>" end
  local count = 0
  for i = 1, #latency do count = count + select(2, latency(i)) end
  local nines = math.max(1, math.min(6, math.log(count, 10)))
  local low = 10 ^ math.floor(math.log(math.max(latency.min / 1e6, 1e-5), 10))
  local high = math.max(latency.max / 1e6, low * 2)
  local function x_of(percent)
    local depth = percent >= 100 and nines or math.min(nines, -math.log(1 - percent / 100, 10))
    return LEFT + depth / nines * (WIDTH - LEFT - RIGHT)
  end
  local function y_of(value)
    local part = math.log(math.max(value, low) / low) / math.log(high / low)
    return HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)
  end
  local y_ticks, tick = {}, low
  local factors = high / low > 1000 and { 10 } or { 2, 2.5, 2 }
  for i = 0, 60 do
    if tick > high * 1.0001 then break end
    y_ticks[#y_ticks + 1] = tick
    tick = tick * factors[i % #factors + 1]
  end
  local x_ticks = {}
  for _, percent in ipairs { 0, 50, 90, 99, 99.9, 99.99, 99.999 } do
    if percent == 0 or -math.log(1 - percent / 100, 10) <= nines + 0.01 then
      x_ticks[#x_ticks + 1] = { percent, ("%.6g %%"):format(percent) }
    end
  end
  local out = frame("latency by percentile", "percent of requests that were at least as fast; ms", x_ticks, y_ticks, x_of, y_of)
  local curve, steps = {}, 120
  for i = 0, steps do
    local percent = 100 * (1 - 10 ^ (-nines * i / steps))
    local value = latency:percentile(i == steps and 100 or percent) / 1e6
    curve[#curve + 1] = { x_of(i == steps and 100 or percent), y_of(value) }
    hover(out, x_of(percent), (WIDTH - LEFT - RIGHT) / steps, ("%.5g %%: %.3f ms"):format(i == steps and 100 or percent, value))
  end
  out[#out + 1] = ('<polyline class="one" points="%s"/></svg>'):format(points(curve))
  return table.concat(out)
end

--- At most 150 stretches of time; of the percentiles of those that are put together the highest counts.
local function thin(intervals)
  local size, list = math.ceil(#intervals / 150), {}
  for i, interval in ipairs(intervals) do
    if interval.seconds > 0.02 then
      local last = list[#list]
      if not last or (i - 1) % size == 0 then
        last = { from_s = interval.from_s, seconds = 0, requests = 0, errors = 0, p50_ms = 0, p99_ms = 0, max_ms = 0 }
        list[#list + 1] = last
      end
      for _, name in ipairs { "seconds", "requests", "errors" } do last[name] = last[name] + interval[name] end
      for _, name in ipairs { "p50_ms", "p99_ms", "max_ms" } do last[name] = math.max(last[name], interval[name]) end
    end
  end
  return list
end

local function time_chart(title, label, list, maximum, draw, text)
  local last = list[#list]
  local end_s = last.from_s + last.seconds
  local y_ticks = ticks(maximum, 4)
  local top = y_ticks[#y_ticks]
  local function x_of(second) return LEFT + second / end_s * (WIDTH - LEFT - RIGHT) end
  local function y_of(value) return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM) end
  local x_ticks = {}
  for _, tick in ipairs(ticks(end_s, 8)) do
    if tick <= end_s * 1.001 then x_ticks[#x_ticks + 1] = { tick, short(tick) .. " s" } end
  end
  local out = frame(title, label, x_ticks, y_ticks, x_of, y_of)
  for _, interval in ipairs(list) do
    hover(out, x_of(interval.from_s), interval.seconds / end_s * (WIDTH - LEFT - RIGHT),
      ("%.1f s: %s"):format(interval.from_s, text(interval)))
  end
  draw(out, function(value_of)
    local curve = {}
    for _, interval in ipairs(list) do
      curve[#curve + 1] = { x_of(interval.from_s + interval.seconds / 2), y_of(value_of(interval)) }
    end
    return curve
  end, x_of)
  out[#out + 1] = "</svg>"
  return table.concat(out)
end

local function latency_chart(list)
  local maximum = 0
  for _, interval in ipairs(list) do maximum = math.max(maximum, interval.p99_ms) end
  return time_chart("latency over time", "ms", list, maximum, function(out, curve)
    out[#out + 1] = ('<polyline class="two" points="%s"/>'):format(points(curve(function(i) return i.p99_ms end)))
    out[#out + 1] = ('<polyline class="one" points="%s"/>'):format(points(curve(function(i) return i.p50_ms end)))
  end, function(i) return ("50 %% %.3f ms, 99 %% %.3f ms, max %.3f ms"):format(i.p50_ms, i.p99_ms, i.max_ms) end)
end

local function rate_chart(list)
  local maximum = 0
  local function rate(interval) return interval.requests / interval.seconds end
  for _, interval in ipairs(list) do maximum = math.max(maximum, rate(interval)) end
  return time_chart("requests a second over time", "requests/s", list, maximum, function(out, curve, x_of)
    local line, bottom = curve(rate), HEIGHT - BOTTOM
    out[#out + 1] = ('<polygon class="area" points="%.1f,%d %s %.1f,%d"/><polyline class="one" points="%s"/>'):format(
      line[1][1], bottom, points(line), line[#line][1], bottom, points(line))
    for _, interval in ipairs(list) do
      if interval.errors > 0 then
        out[#out + 1] = ('<circle class="errors" cx="%.1f" cy="%d" r="4"><title>%d errors</title></circle>'):format(
          x_of(interval.from_s + interval.seconds / 2), bottom, interval.errors)
      end
    end
  end, function(i) return ("%.0f/s, %d errors"):format(rate(i), i.errors) end)
end

local function tile(name, value, bad)
  return ('<div class="tile"><span>%s</span><b%s>%s</b></div>'):format(escape(name), bad and ' class="bad"' or "", escape(value))
end

local function table_of(title, head, rows)
  local out = { ("<section><h2>%s</h2><table><tr>"):format(title) }
  for _, cell in ipairs(head) do out[#out + 1] = ("<th>%s</th>"):format(escape(cell)) end
  out[#out + 1] = "</tr>"
  for _, row in ipairs(rows) do
    out[#out + 1] = "<tr>"
    for i, cell in ipairs(row) do
      local class = i == #row and row.class and (' class="%s"'):format(row.class) or ""
      out[#out + 1] = ("<td%s>%s</td>"):format(class, escape(cell))
    end
    out[#out + 1] = "</tr>"
  end
  out[#out + 1] = "</table></section>"
  return table.concat(out)
end

local function counts(map)
  local keys, rows = {}, {}
  for key in pairs(map) do keys[#keys + 1] = key end
  table.sort(keys)
  for i, key in ipairs(keys) do rows[i] = { key, ("%d"):format(map[key]) } end
  return rows
end

local function tables(figures, judged)
  local percentiles = {}
  for _, each in ipairs {
    { "mean", "mean_ms" }, { "50 %", "p50_ms" }, { "75 %", "p75_ms" }, { "90 %", "p90_ms" },
    { "99 %", "p99_ms" }, { "99.9 %", "p99_9_ms" }, { "99.99 %", "p99_99_ms" }, { "max", "max_ms" },
  } do
    percentiles[#percentiles + 1] = { each[1], ("%.3f"):format(figures[each[2]]) }
  end
  local rows = {}
  for i, threshold in ipairs(judged) do
    rows[i] = { threshold.name, (threshold.lower and "≥ %.6g" or "≤ %.6g"):format(threshold.bound),
      ("%.6g"):format(threshold.value), threshold.met and "met" or "missed", class = threshold.met and "good" or "bad" }
  end
  return (#rows > 0 and table_of("Thresholds", { "figure", "bound", "measured", "" }, rows) or "")
    .. '<div class="tables">' .. table_of("Latency", { "percentile", "ms" }, percentiles)
    .. table_of("Statuses", { "status", "requests" }, counts(figures.status))
    .. table_of("Errors by kind", { "kind", "errors" }, counts(figures.error_kinds)) .. "</div>"
end

--- The page; `data` is the JSON text, which it carries along.
function html.page(figures, measured, judged, notes, data)
  local out = { "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">",
    '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Load test</title><style>', STYLE,
    "</style></head><body><main><h1>Load test</h1><p>", escape(figures.title), '</p><div class="tiles">',
    tile("requests a second", short(figures.requests_per_second)), tile("requests", short(figures.requests)),
    tile("median", ("%.3g ms"):format(figures.p50_ms)), tile("99 %", ("%.3g ms"):format(figures.p99_ms)),
    tile("slowest", ("%.3g ms"):format(figures.max_ms)), tile("errors", short(figures.errors), figures.errors > 0),
    tile("tester's processor", ("%.0f %%"):format(figures.tester_cpu * 100), figures.tester_cpu >= 0.95), "</div>" }
  for _, note in ipairs(notes) do out[#out + 1] = ('<section class="note">%s</section>'):format(escape(note)) end
  out[#out + 1] = "<section><h2>Latency by percentile</h2>" .. percentile_chart(measured.latency) .. "</section>"
  local list = thin(measured.intervals)
  if #list > 1 then
    out[#out + 1] = '<section><h2>Latency over time<span class="key"><i class="dot" style="background:var(--one)"></i>50 %'
      .. '<i class="dot" style="background:var(--two)"></i>99 %</span></h2>' .. latency_chart(list) .. "</section>"
      .. "<section><h2>Requests a second over time</h2>" .. rate_chart(list) .. "</section>"
  end
  out[#out + 1] = tables(figures, judged)
  out[#out + 1] = '<script type="application/json" id="figures">' .. data:gsub("</", "<\\/") .. "</script></main></body></html>\n"
  return table.concat(out)
end

return html
