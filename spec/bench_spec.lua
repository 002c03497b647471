local cjson = require "cjson"
local workspace = require "spec.support.workspace"

-- The bench itself: with the two programs that need no peer, and few documents. Figures are nobody's business here.
describe("the bench", function()
  if os.getenv "TIDEMARK_SANITIZER" then return end
  after_each(workspace.clean)

  local function run(arguments)
    local build = workspace.path()
    local _, err, status = workspace.run((("mkdir -p B/bench/bin && cp A/bench/bin/ceiling A/bench/bin/sketch "
      .. "A/bench/bin/tidemark B/bench/bin/ && cp A/bench/bench_parts.so B/bench/ && cp A/tidemark.so B/"):gsub("[AB]/",
      { ["A/"] = workspace.build .. "/", ["B/"] = build .. "/" })))
    assert.equal(0, status, err)
    local out
    out, err, status = workspace.run(("lua5.4 scripts/bench.lua --build %s --rounds 2 --documents 3000 --small 2000 "
      .. "--update-seconds 1 %s"):format(build, arguments))
    return out, err, status, build
  end

  setup(function()
    local _, err, status = workspace.run(("make B=A A/bench/bin/ceiling A/bench/bin/sketch A/bench/bin/tidemark "
      .. "A/bench/bench_parts.so"):gsub("A%f[/ ]", workspace.build))
    assert(status == 0, err)
  end)

  it("prints lines with ratios and goals, and writes them down", function()
    local out, err, status, build = run "--only ^durable%-one/1$"
    assert.equal(0, status, out .. err)
    assert.matches("\n  ceiling +%d+/s .- tidemark is [%d.]+ x", out)
    assert.matches("\n  single durable / ceiling +[%d.]+  >= 0.9 +%u*m?", out)
    assert.matches("get / LMDB +%-  >= 3 +not measured", out)
    local report = cjson.decode(workspace.read(build .. "/bench/report.json"))
    assert.equal(1, #report.lines)
    local found = report.lines[1].contenders.tidemark
    assert.is_true(found.low <= found.rate and found.rate <= found.high and found.operations > 0)
  end)

  it("takes the lines of several patterns, and doesn't call nothing a success", function()
    local out, err, status, build = run "--only '^durable%-one/1$|^history$'"
    assert.equal(0, status, out .. err)
    assert.equal(2, #cjson.decode(workspace.read(build .. "/bench/report.json")).lines)
    local _, message, refused = run "--only ^nothing$"
    assert.equal(2, refused)
    assert.matches("no line's name matches ^nothing$; they are:\n  create/100k\n", message, 1, true)
  end)

  it("takes turns round by round, and ends behind the third one where time is short", function()
    local out, err, status, build = run "--only '^durable%-one/1$' --rounds 9 --seconds 1"
    assert.equal(0, status, out .. err)
    assert.matches("round 3 of 9: %d+ s\nno more rounds: .- after %d+ s", out)
    assert.equal(3, cjson.decode(workspace.read(build .. "/bench/report.json")).rounds)
  end)

  it("takes every line that the engine has", function()
    local out, err, status, build = run "--only ."
    assert.equal(0, status, out .. err)
    assert.is_nil(out:find "WRONG", out)
    local report = cjson.decode(workspace.read(build .. "/bench/report.json"))
    assert.is_true(#report.lines > 20)
    local latencies = 0
    for _, line in ipairs(report.lines) do
      assert.is_table(line.contenders.tidemark, line.name)
      latencies = latencies + (line.latency and 1 or 0)
    end
    assert.is_true(latencies >= 4)
    assert.is_table(report.lines[1].contenders.sketch)
    if not io.open "/usr/bin/chromium" then
      pending "there is no /usr/bin/chromium"
      return
    end
    local dom = workspace.run(("timeout 60 chromium --headless --no-sandbox --disable-gpu --dump-dom file://%s/bench/report.html")
      :format(build))
    local bars, curves = 0, 0
    for svg in dom:gmatch '<svg class="bars".-</svg>' do
      bars = bars + 1
      assert.matches('<rect class="own" x="110" y="%d+" width="%d+%.%d"', svg)
    end
    for svg in dom:gmatch '<svg class="curves".-</svg>' do
      curves = curves + 1
      assert.matches('<polyline class="curve" stroke="[^"]+" points="[%d., ]+"', svg)
    end
    assert.same({ #report.lines, latencies }, { bars, curves })
    local series = {}
    for points in dom:gmatch '<svg class="series".-points="([^"]+)"' do
      series[#series + 1] = select(2, points:gsub("%S+", ""))
    end
    assert.equal(2, #series)
    assert.equal(10, series[1]) -- a second of replacing
    assert.is_true(series[2] >= 1)
  end)

  it("says how it is used, and ends with 1 where a result is wrong", function()
    local out, _, status = workspace.run "lua5.4 scripts/bench.lua --help"
    assert.equal(0, status)
    assert.matches("examples:", out)
    _, _, status = workspace.run "lua5.4 scripts/bench.lua --nonsense"
    assert.equal(2, status)
    local build = workspace.path()
    workspace.run(("mkdir -p %s/bench/bin && printf '#!/bin/sh\\necho lost a document >&2\\nexit 1\\n' >%s/bench/bin/tidemark "
      .. "&& chmod +x %s/bench/bin/tidemark"):format(build, build, build))
    out, _, status = workspace.run(("lua5.4 scripts/bench.lua --build %s --rounds 1 --only '^recovery$'"):format(build))
    assert.equal(1, status)
    assert.matches("WRONG: recovery, tidemark: lost a document", out)
  end)
end)
