local cjson = require "cjson"
local workspace = require "spec.support.workspace"

-- The soak itself, for seconds instead of minutes. Figures are nobody's business here, but what grows is found.
describe("the soak", function()
  if os.getenv "TIDEMARK_SANITIZER" then return end
  after_each(workspace.clean)

  local function soak(arguments)
    local build = workspace.path()
    assert(os.execute(("mkdir -p %s && cp %s/tidemark.so %s/tidemark %s/"):format(build, workspace.build, workspace.build,
      build)))
    local out, err, status = workspace.run(("timeout 120 lua5.4 scripts/soak.lua --build %s %s"):format(build, arguments))
    return status, out .. err, build
  end

  it("finds that a bounded load is bounded, and tells it", function()
    local status, out, build = soak "--seconds 20 --rate 500 --documents 300"
    assert.equal(0, status, out)
    assert.matches("\nmemory +middle third .- bounded\ndescriptors .- bounded\ndisk [^\n]- bounded\np99 of writes ", out)
    local report = cjson.decode(workspace.read(build .. "/soak/report.json"))
    assert.is_true(#report.samples >= 15 and report.writes > 1000)
    local calls = {}
    for _, call in ipairs(report.maintenance) do
      assert.is_nil(call.message)
      calls[call.name] = (calls[call.name] or 0) + 1
    end
    assert.is_true(calls.snapshot >= 2 and calls.compact >= 2 and calls.backup >= 2)
    for _, sample in ipairs(report.samples) do
      assert.is_true(sample.memory_bytes > 1 << 20 and sample.descriptors > 3 and sample.disk_bytes > 4096)
    end
    assert.is_true(report.samples[2].writes > 0 and report.samples[2].p99_us > 0)
    local html = workspace.read(build .. "/soak/report.html")
    local _, plots = html:gsub('<polyline class="curve" stroke="[^"]+" points="[%d., ]+"', "")
    assert.equal(7, plots)
  end)

  it("finds that memory grows", function()
    local status, out = soak "--seconds 6 --rate 1000000 --documents 10000000"
    assert.equal(1, status, out)
    assert.matches("\nmemory [^\n]- GROWS\n", out)
  end)

  it("says how it is used", function()
    local out, _, status = workspace.run "lua5.4 scripts/soak.lua --nonsense 1"
    assert.equal("", out)
    assert.equal(2, status)
    _, _, status = workspace.run "lua5.4 scripts/soak.lua --seconds x"
    assert.equal(2, status)
  end)
end)
