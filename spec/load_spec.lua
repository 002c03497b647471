local cjson = require "cjson"
local tidemark = require "tidemark"
local tester = require "spec.support.load_tester"
local workspace = require "spec.support.workspace"

-- tidemark load's loops, figures and exit statuses against spec/support/http_server.lua, which writes down what it
-- receives. Nothing here depends on how fast anything is, only on what must be so at any speed.
describe("tidemark load", function()
  local expect, expect_engine = tester.expect, tester.expect_engine
  local received, no_errors, failures = tester.received, tester.no_errors, tester.failures
  local SAY, said = tester.SAY, tester.said

  before_each(tester.open)
  after_each(tester.close)

  describe("the open loop", function()
    it("starts as many as the schedule has, of the whole run", function()
      for _, options in ipairs { "", "--threads 2", "--threads 3 --connections 3", "--connections 1" } do
        local before = #received()
        local figures = expect(0, "", "--rate 200 --duration 500ms --warmup 0 " .. options)
        assert.equal(100, figures.requests + failures(figures) + figures.unsent, options)
        assert.equal(#received() - before, figures.requests + failures(figures))
        assert.is_true(figures.requests > 0)
      end
    end)

    it("a stall isn't hidden: latency counts from the schedule", function()
      -- One connection: all that was to start in the 250 ms after the first start waited 50 ms or longer.
      local figures = expect(0, "", "--rate 200 --requests 100 --connections 1 --timeout 20s", "/stall-once/300")
      assert.equal(100, figures.requests)
      local slow = 0
      for _, bucket in ipairs(figures.histogram) do
        if bucket[1] >= 50 then slow = slow + bucket[2] end
      end
      assert.is_true(slow >= 50, slow)
      assert.is_true(figures.max_ms >= 300)
      assert.is_true(figures.p99_ms >= 280)
      assert.is_true(figures.p75_ms >= 100)
    end)

    it("in the closed loop the same stall is one slow request", function()
      local figures = expect(0, "", "--requests 100 --connections 1 --timeout 20s", "/stall-once/300")
      assert.is_true(figures.max_ms >= 300)
      assert.is_true(figures.p90_ms < 300)
    end)

    it("what finds no free connection until the end is unsent, and told", function()
      local figures, out = expect(0, "", "--rate 1000 --duration 300ms --warmup 0 --connections 1", "/delay/50")
      assert.equal(300, figures.requests + failures(figures) + figures.unsent)
      assert.is_true(figures.unsent >= 290) -- at most one in 50 ms
      assert.matches("note: %d+ requests started late and %d+ not at all", out)
      assert.matches("more %-%-connections are needed", out)
    end)

    it("the answers under way at the end are awaited", function()
      local figures = expect(0, "", "--rate 100 --duration 200ms --warmup 0 --connections 20", "/delay/400")
      assert.equal(20, figures.requests + figures.unsent)
      assert.is_true(figures.requests > 0)
      no_errors(figures)
    end)
  end)

  describe("the warm-up", function()
    it("is in no figure of the open loop", function()
      local figures = expect(0, "", "--rate 200 --duration 500ms --warmup 500ms", "/fail-first/20")
      assert.equal(100, figures.requests + figures.unsent)
      no_errors(figures)
      assert.same({ ["200"] = figures.requests }, figures.status)
      assert.is_true(#received() > figures.requests + 20)
    end)

    it("is in no figure of the closed loop", function()
      local figures = expect(0, "function delay() return 2 end",
        "--duration 300ms --warmup 700ms --connections 2", "/fail-first/5")
      no_errors(figures)
      local requests, sent = received()
      assert.is_true(#requests > figures.requests + 5)
      assert.is_true(figures.bytes_received < sent)
    end)

    it("counts to what --requests sends in all", function()
      local figures = expect(0, "", "--requests 50 --rate 100 --warmup 250ms --connections 4", "/fail-first/10")
      assert.equal(50, #received())
      assert.equal(25, figures.requests)
      no_errors(figures)
    end)
  end)

  describe("errors", function()
    local function of_kind(kind, count, figures)
      local expected = { connect = 0, read = 0, write = 0, timeout = 0, status = 0 }
      expected[kind] = count
      assert.same(expected, figures.error_kinds)
      assert.equal(count, figures.errors)
    end

    local function every_third(path)
      return ([[
        local n = 0
        function request()
          n = n + 1
          return wrk.format(nil, n %% 3 == 0 and "%s" or "/")
        end
      ]]):format(path)
    end

    it("timeout: no answer in time", function()
      local figures = expect(0, every_third "/never", "--requests 6 --connections 1 --timeout 200ms")
      of_kind("timeout", 2, figures)
      assert.equal(4, figures.requests)
      assert.is_true(math.abs(figures.error_rate - 2 / 6) < 1e-6)
      assert.is_true(figures.duration_s >= 0.2)
    end)

    it("timeout: an answer within --timeout is none", function()
      no_errors((expect(0, "", "--requests 2 --timeout 20s", "/delay/300")))
    end)

    it("timeout: in the open loop, those under way at the end too", function()
      local figures = expect(3, "", "--rate 50 --duration 100ms --warmup 0 --timeout 200ms", "/never")
      of_kind("timeout", #received(), figures)
      assert.equal(1, figures.error_rate)
      assert.equal(5, figures.errors + figures.unsent)
    end)

    it("read: cut off, half an answer, no HTTP", function()
      for _, path in ipairs { "/cut", "/half", "/garbage" } do
        local figures = expect(0, every_third(path), "--requests 6 --connections 1")
        of_kind("read", 2, figures)
        assert.equal(4, figures.requests)
      end
    end)

    it("read: all that was under way on the connection", function()
      local figures = expect(0, [[
        local n = 0
        function request()
          n = n + 1
          return wrk.format(nil, n == 2 and "/cut" or "/")
        end
      ]], "--requests 4 --connections 1 --pipeline 4")
      of_kind("read", 3, figures)
      assert.equal(1, figures.requests)
    end)

    it("read: what is behind the answer with which the server closes", function()
      local figures = expect(0, "", "--requests 40 --connections 1 --pipeline 4", "/close")
      assert.equal(40, figures.requests + figures.errors)
      of_kind("read", 30, figures)
    end)

    it("read: an answer that nobody asked for", function()
      local figures = expect(0, "", "--requests 4 --connections 1", "/extra")
      assert.equal(4, figures.requests)
      assert.equal(figures.errors, figures.error_kinds.read)
      assert.is_true(figures.errors >= 1)
    end)

    it("none: the server closes between requests", function()
      for path, connections in pairs { ["/close"] = 5, ["/until-close"] = 5, ["/quiet-close"] = 5, ["/"] = 1 } do
        local seen, count, before = {}, 0, #received()
        local figures = expect(0, "function delay() return 50 end", "--requests 5 --connections 1", path)
        assert.equal(5, figures.requests)
        no_errors(figures)
        for i, request in ipairs(received()) do
          if i > before and not seen[request.connection] then
            seen[request.connection], count = true, count + 1
          end
        end
        assert.equal(connections, count, path)
      end
    end)

    it("write: the connection is gone before the request", function()
      local resetting = tester.start_server "reset"
      local figures, _, _, status = tester.run([[
        function request()
          local until_s = os.time() + 1
          while os.time() <= until_s do end -- more than a second, in which the server resets
          return wrk.format()
        end
      ]], "--requests 1 --connections 1 --timeout 20s", "--url " .. resetting.url)
      assert.equal(3, status)
      assert.equal(1, figures.error_kinds.write)
      -- On a busy machine a connection may be reset before the tester has seen it made.
      assert.equal(figures.errors, 1 + figures.error_kinds.connect)
    end)

    it("write or read: a large request is refused in its middle", function()
      local figures = expect(3, "wrk.method, wrk.body = 'POST', ('x'):rep(8 << 20)", "--requests 2 --connections 1",
        "/refuse")
      assert.equal(2, figures.error_kinds.write + figures.error_kinds.read)
      assert.equal(2, figures.errors)
    end)

    it("connect: the server goes away, the run ends", function()
      local figures, out = expect(0, [[
        local n = 0
        function request()
          n = n + 1
          return wrk.format(nil, n == 5 and "/shutdown" or "/delay/1")
        end
      ]], "--requests 5000 --connections 2 --timeout 300ms")
      assert.is_true(figures.error_kinds.connect > 0)
      assert.is_true(figures.unsent > 0)
      assert.equal(5000, figures.requests + figures.error_kinds.read + figures.error_kinds.write + figures.unsent)
      assert.matches(("note: %d of"):format(figures.unsent) .. " the requests weren't sent", out, 1, true)
    end)

    it("connect: the server goes away in an open loop, the schedule goes on", function()
      local figures = expect(0, [[
        local n = 0
        function request()
          n = n + 1
          return wrk.format(nil, n == 5 and "/shutdown" or "/")
        end
      ]], "--rate 200 --duration 600ms --warmup 0 --connections 2")
      assert.is_true(figures.error_kinds.connect > 0)
      assert.is_true(figures.unsent > 0)
      assert.equal(120, figures.requests + figures.error_kinds.read + figures.error_kinds.write + figures.unsent)
    end)

    it("status: 400 and more; they have a latency", function()
      local figures = expect(0, every_third "/status/404", "--requests 9 --connections 1")
      of_kind("status", 3, figures)
      assert.same({ ["200"] = 6, ["404"] = 3 }, figures.status)
      assert.equal(9, figures.requests)
      figures = expect(0, "", "--requests 3", "/status/399")
      no_errors(figures)
      figures = expect(0, "", "--requests 3", "/status/503")
      of_kind("status", 3, figures)
      assert.equal(1, figures.error_rate)
    end)

    it("nobody listens: 3, and what to do", function()
      local _, _, err, status = tester.run("", "--requests 1", "--url http://127.0.0.1:1")
      assert.equal(3, status)
      assert.matches("cannot connect to 127.0.0.1:1: Connection refused; start the server", err, 1, true)
    end)
  end)

  describe("thresholds", function()
    it("met: 0; upper bounds, and lower ones for requests and their rate", function()
      local figures, out = expect(0, [[thresholds = { p99_ms = 60000, error_rate = 0, requests_per_second = 0.001,
        requests = 10, unsent = 0, errors = 0, max_ms = 60000, tester_cpu = 1, bytes_received = 1e9, duration_s = 60,
        mean_ms = 60000, p50_ms = 60000, p75_ms = 60000, p90_ms = 60000, p99_9_ms = 60000, p99_99_ms = 60000 }]],
        "--requests 10")
      assert.equal(16, #figures.thresholds)
      for _, threshold in ipairs(figures.thresholds) do
        assert.is_true(threshold.met, threshold.name)
        assert.equal(figures[threshold.name], threshold.value)
        assert.matches(("\n  %s +[<>]= "):format(threshold.name), out)
      end
      assert.is_nil(out:find("MISSED", 1, true))
    end)

    it("missed: 1, each of them", function()
      for name, bound in pairs { p99_ms = 0, max_ms = 0.000001, error_rate = 0.1, errors = 9, requests = 11,
        requests_per_second = 1e9, bytes_received = 0 } do
        local figures, out = expect(1, ("thresholds = { %s = %.9f, duration_s = 60 }"):format(name, bound),
          "--requests 10", "/status/500")
        assert.equal(2, #figures.thresholds)
        for _, threshold in ipairs(figures.thresholds) do assert.equal(threshold.name ~= name, threshold.met) end
        assert.matches("MISSED", out, 1, true)
      end
    end)

    it("without an answer no latency is within its bound", function()
      local figures = expect(1, "thresholds = { p99_ms = 1000 }", "--requests 2", "/cut")
      assert.is_false(figures.thresholds[1].met)
    end)

    it("unknown, or no number: 2, before anything is sent", function()
      for thresholds, reason in pairs { ["{ p98_ms = 1 }"] = "unknown threshold p98_ms",
        ["{ 5 }"] = "unknown threshold 1", ["{ p99_ms = '5' }"] = "p99_ms is not a number",
        ["{ p99_ms = 0/0 }"] = "p99_ms is not a number",
        ["{ p99_ms = 1/0 }"] = "p99_ms is not a number", ["'fast'"] = "thresholds is a string" } do
        local _, _, err = expect(2, "thresholds = " .. thresholds, "--requests 1")
        assert.matches(reason, err, 1, true)
      end
      assert.equal(0, #received())
    end)
  end)

  describe("exit status 2", function()
    it("a script that is no Lua", function()
      local _, _, err = expect(2, "\nfunction (", "--requests 1")
      assert.matches("script.lua:2:", err, 1, true)
    end)

    it("wrong options", function()
      local url = "--url " .. tester.server.url
      local script = tester.write_script ""
      for _, arguments in ipairs { "", url, script, script .. " --url ftp://127.0.0.1/", script .. " --url 127.0.0.1",
        script .. " --url http://", script .. " --url http://127.0.0.1:70000",
        script .. " --url 'http://127.0.0.1/a b'", script .. " --url https://127.0.0.1/",
        script .. " " .. url .. " --engine x", script .. " --engine x --pipeline 2",
        script .. " --engine x --connections 2", script .. " a " .. url } do
        local _, err, status = workspace.command("load " .. arguments)
        assert.equal(2, status, arguments)
        assert.matches("^tidemark: ", err)
      end
      for _, options in ipairs { "--requests 0", "--requests -1", "--requests x", "--requests 1.5", "--threads 0",
        "--connections 0", "--threads 3 --connections 2", "--duration 0", "--duration 1y", "--duration -1s",
        "--duration", "--duration 1s --requests 5", "--rate 0", "--rate -1", "--rate fast", "--rate nan",
        "--pipeline 0", "--timeout 0", "--timeout x", "--warmup -1", "--warmup x", "--speed 5", "--json" } do
        local _, err, status = workspace.command(("load %s %s %s"):format(script, url, options))
        assert.equal(2, status, options)
        assert.matches("^tidemark: ", err)
      end
      assert.equal(0, #received())
    end)
  end)

  describe("exit status 3", function()
    it("no such script, a script that fails, a file that cannot be written: nothing is sent", function()
      local _, err, status = workspace.command(("load %s/no.lua --url %s"):format(tester.directory, tester.server.url))
      assert.equal(3, status)
      assert.matches("no.lua", err, 1, true)
      _, _, err = expect(3, "error 'at the top'", "--requests 1")
      assert.matches("script.lua:1: at the top", err, 1, true)
      for _, option in ipairs { "--json", "--html" } do
        _, err, status = workspace.command(("load %s --url %s --requests 1 %s /nonexistent/x"):format(
          tester.write_script "", tester.server.url, option))
        assert.equal(3, status)
        assert.matches("/nonexistent/x", err, 1, true)
      end
      assert.equal(0, #received())
    end)

    it("no answer at all; the figures are still told", function()
      local figures, out, err = expect(3, "", "--requests 3", "/cut")
      assert.matches("no answer was measured", err, 1, true)
      assert.equal(3, figures.error_kinds.read)
      assert.equal(0, figures.requests)
      assert.equal(1, figures.error_rate)
      assert.same({}, figures.histogram)
      assert.matches("\n  read +3\n", out)
    end)
  end)

  it("durations: 500ms, 1, 1s, 0.01m", function()
    for duration, seconds in pairs { ["300ms"] = 0.3, ["0.5"] = 0.5, ["0.4s"] = 0.4, ["0.005m"] = 0.3 } do
      local figures = expect(0, "function delay() return 20 end", "--warmup 0 --connections 1 --duration " .. duration)
      assert.is_true(figures.duration_s >= seconds - 0.01 and figures.duration_s < seconds + 10, duration)
    end
  end)

  describe("--json", function()
    local NAMES = { "requests", "errors", "error_rate", "duration_s", "requests_per_second", "bytes_received",
      "mean_ms", "p50_ms", "p75_ms", "p90_ms", "p99_ms", "p99_9_ms", "p99_99_ms", "max_ms", "unsent", "status",
      "error_kinds", "tester_cpu", "tester_cpu_threads", "thresholds", "histogram" }

    local function consistent(figures)
      local known = {}
      for _, name in ipairs(NAMES) do
        known[name] = true
        assert.is_not_nil(figures[name], name)
      end
      for name in pairs(figures) do assert.is_true(known[name], name) end
      local kinds, statuses, count, before, weighted = 0, 0, 0, -1, 0
      for _, n in pairs(figures.error_kinds) do kinds = kinds + n end
      for _, n in pairs(figures.status) do statuses = statuses + n end
      for _, bucket in ipairs(figures.histogram) do
        assert.is_true(bucket[1] > before and bucket[2] > 0)
        before, count, weighted = bucket[1], count + bucket[2], weighted + bucket[1] * bucket[2]
      end
      assert.equal(figures.errors, kinds)
      assert.equal(figures.requests, statuses)
      assert.equal(figures.requests, count)
      assert.equal(figures.max_ms, before)
      assert.is_true(math.abs(weighted / count / figures.mean_ms - 1) < 0.001)
      assert.is_true(math.abs(figures.error_rate - kinds / (figures.requests + failures(figures))) < 1e-6)
      assert.is_true(math.abs(figures.requests_per_second * figures.duration_s / figures.requests - 1) < 1e-6)
      for name, percent in pairs { p50_ms = 50, p75_ms = 75, p90_ms = 90, p99_ms = 99, p99_9_ms = 99.9,
        p99_99_ms = 99.99 } do
        local seen, value = 0, nil
        for _, bucket in ipairs(figures.histogram) do
          seen, value = seen + bucket[2], bucket[1]
          if seen >= percent / 100 * figures.requests - 1e-6 then break end
        end
        assert.equal(value, figures[name], name)
      end
      local busiest = 0
      for _, share in ipairs(figures.tester_cpu_threads) do busiest = math.max(busiest, share) end
      assert.equal(math.min(busiest, 1), figures.tester_cpu)
      assert.is_true(figures.tester_cpu >= 0)
    end

    it("has every figure, and they agree", function()
      local mixed = [[
        local n = 0
        local paths = { "/", "/status/404", "/chunked", "/delay/3", "/status/503", "/echo" }
        function request()
          n = n + 1
          return wrk.format(nil, paths[n % #paths + 1])
        end
      ]]
      local figures = expect(0, mixed, "--requests 600 --threads 2 --connections 4 --pipeline 2")
      consistent(figures)
      assert.equal(600, figures.requests)
      assert.same({ ["200"] = 400, ["404"] = 100, ["503"] = 100 }, figures.status)
      assert.equal(2, #figures.tester_cpu_threads)
      assert.equal(figures.bytes_received, (select(2, received())))
      consistent((expect(0, mixed, "--duration 300ms --warmup 100ms --connections 3")))
      consistent((expect(0, mixed, "--duration 300ms --warmup 100ms --rate 500 --threads 2 --connections 6")))
    end)

    it("- is standard output, without the table", function()
      local out, err, status = workspace.command(("load %s --url %s --requests 5 --json -"):format(
        tester.write_script "", tester.server.url))
      assert.equal(0, status, err)
      assert.equal(5, cjson.decode(out).requests)
      assert.equal("{", out:sub(1, 1))
      assert.equal(1, select(2, out:gsub("\n", "")))
    end)
  end)

  it("the table: figures, statuses, errors by kind, notes", function()
    local figures, out = expect(0, [[
      local n = 0
      function request()
        n = n + 1
        return wrk.format(nil, n == 1 and "/cut" or "/")
      end
    ]], "--requests 4 --connections 1")
    assert.matches(tester.server.url .. ", 1 thread, 1 connection, closed loop, ", out, 1, true)
    assert.matches("\n  200 +3\n", out)
    assert.matches("\n  read +1\n", out)
    assert.matches("\ntester: %d+ %% of a processor\n", out)
    assert.matches("note: few requests: percentiles above", out, 1, true)
    for _, name in ipairs { "50 %", "99.99 %", "max" } do assert.matches(name, out, 1, true) end
    assert.equal(3, figures.requests)
  end)

  describe("--html", function()
    local function check_page(page, url)
      assert.equal(3, select(2, page:gsub("<svg ", "")))
      local lines = 0
      for kind, points in page:gmatch '<poly(%a+) class="%w+" points="([^"]*)"' do
        local n = 0
        for point in points:gmatch "%S+" do
          n = n + 1
          local x, y = point:match "^(%d+%.?%d*),(%d+%.?%d*)$"
          assert.truthy(x and tonumber(x) <= 720 and tonumber(y) <= 260, point)
        end
        assert.is_true(n >= 2)
        if kind == "line" then lines = lines + 1 end
      end
      assert.equal(4, lines)
      assert.is_nil(page:find("nan", 1, true))
      for _, heading in ipairs { "Latency by percentile", "Latency over time", "Requests a second over time",
        "Thresholds", "Statuses", "Errors by kind" } do
        assert.matches(heading .. "<", page, 1, true)
      end
      local rest = page:gsub((url:gsub("%W", "%%%0")), ""):gsub('xmlns="[^"]*"', "")
      for _, elsewhere in ipairs { "http://", "https://", "src=", "href=", "@import", "url(" } do
        assert.is_nil(rest:find(elsewhere, 1, true), elsewhere)
      end
      local figures = cjson.decode((page:match '<script type="application/json" id="figures">(.-)</script>'))
      assert.is_true(figures.requests > 0)
      assert.matches("<span>requests a second</span><b>", page, 1, true)
      return figures
    end

    local function make_page()
      local file = tester.directory .. "/report.html"
      local figures = expect(0, "thresholds = { p99_ms = 60000 }\nfunction delay() return 2 end",
        "--duration 600ms --warmup 0 --connections 2 --html " .. file, "/mixed?a=<b>")
      return file, figures
    end

    it("is one page by itself, with charts, tables and the figures", function()
      local file, figures = make_page()
      local page = workspace.read(file)
      assert.same(figures, check_page(page, tester.server.url))
      assert.matches("/mixed?a=&lt;b&gt;", page, 1, true)
      assert.matches("^<!doctype html>\n", page)
    end)

    it("in a browser", function()
      if not io.open "/usr/bin/chromium" then
        pending "there is no /usr/bin/chromium"
        return
      end
      local file = make_page()
      local out, err, status = workspace.run(("timeout 60 chromium --headless --no-sandbox --disable-gpu "
        .. "--user-data-dir=%s/profile --dump-dom file://%s"):format(tester.directory, file))
      assert.equal(0, status, err)
      check_page(out, tester.server.url)
    end)

    it("without an answer: a page that says so", function()
      local file = tester.directory .. "/report.html"
      expect(3, "", "--requests 1 --html " .. file, "/cut")
      assert.matches("nothing was measured", workspace.read(file), 1, true)
    end)

    it("what an operation calls its failure cannot break out of it", function()
      local file = tester.directory .. "/report.html"
      local figures = expect_engine(0, "function operation() return nil, 'x', '</script><b>\\\"&' end",
        "--requests 5 --html " .. file)
      assert.same({ ["</script><b>\"&"] = 5, ok = 0 }, figures.status)
      local page = workspace.read(file)
      assert.is_nil(page:find("</script><b>", 1, true))
      assert.matches("&lt;/script&gt;&lt;b&gt;&quot;&amp;", page, 1, true)
    end)
  end)

  describe("--engine", function()
    it("operation(db, i): exactly N, i is unique among the threads", function()
      local figures, out = expect_engine(0, SAY .. [[
        function setup(thread) thread:set("made_by_setup", true) end
        function init(args)
          assert(made_by_setup)
          say("argument", args[1])
        end
        function operation(db, i)
          if i % 5 == 0 then return nil, "made up", "conflict" end
          return db:collection "load":create { id = tostring(i) }
        end
        function done(summary) say("requests", summary.requests) end
      ]], "--requests 1001 --threads 2 -- word")
      assert.same({ argument = "word", requests = 1001 }, said(out))
      assert.same({ ok = 801, conflict = 200 }, figures.status)
      assert.same({ connect = 0, read = 0, write = 0, timeout = 0, status = 200 }, figures.error_kinds)
      assert.equal(1001, figures.requests)
      assert.is_true(math.abs(figures.error_rate - 200 / 1001) < 1e-6)
      assert.equal(0, figures.bytes_received)
      local db <close> = assert(tidemark.open(tester.directory .. "/db"))
      local articles, count = db:collection "load", 0
      for i = 1, 1001 do
        assert.equal(i % 5 ~= 0, articles:has(tostring(i)))
        count = count + 1
      end
      assert.equal(801, #articles)
      assert.equal(1001, count)
    end)

    it("the engine's own codes are errors, an absent id isn't", function()
      local figures = expect_engine(0, [[
        function operation(db, i)
          local c = db:collection "load"
          if i % 2 == 0 then return c:get "nobody" end
          return c:create { id = "the same" }
        end
      ]], "--requests 100 --threads 2")
      assert.same({ ok = 51, exists = 49 }, figures.status)
      assert.equal(49, figures.errors)
    end)

    it("more codes than it has room for: the rest is `other`; a code that is no text stays JSON", function()
      local figures = expect_engine(0, "function operation(_, i) return nil, 'x', 'code' .. i end", "--requests 200")
      local sum = 0
      for _, count in pairs(figures.status) do sum = sum + count end
      assert.equal(200, sum)
      assert.equal(1, figures.status.code1)
      assert.is_true(figures.status.other > 1)
      figures = expect_engine(0, "function operation(_, i) return nil, 'x', '\\xff' .. ('\\u{e9}'):rep(100) end",
        "--requests 2")
      assert.equal(2, figures.errors)
      local text = workspace.read(tester.directory .. "/figures.json")
      assert.is_truthy(utf8.len(text))
    end)

    it("on schedule, with warm-up and thresholds", function()
      local figures = expect_engine(1, [[
        thresholds = { requests = 1000000 }
        function operation(db, i) return db:collection "c":put { id = "one", i = i } end
      ]], "--rate 500 --duration 400ms --warmup 200ms --threads 2")
      assert.equal(200, figures.requests + figures.unsent)
      assert.is_true(figures.requests > 0)
      figures = expect_engine(0, "function operation() end", "--duration 200ms --warmup 100ms")
      assert.is_true(figures.requests > 100)
      assert.is_true(figures.duration_s >= 0.19)
    end)

    it("what operation raises ends the run: 3, with the place", function()
      local _, _, err = expect_engine(3, "function operation(db, i)\n  if i == 7 then error 'broken' end\nend",
        "--requests 100 --threads 2")
      assert.matches("script.lua:2: broken", err, 1, true)
    end)

    it("without operation, or without the tester.directory: 3, and it says why", function()
      local _, _, err = expect_engine(3, "", "--requests 1")
      assert.matches("operation(db, i)", err, 1, true)
      local _, _, message, status = tester.run("function operation() end", "--requests 1", "--engine /proc/no/database")
      assert.equal(3, status)
      assert.matches("/proc/no", message, 1, true)
    end)

    it("a stall of the engine isn't hidden on schedule", function()
      local figures = expect_engine(0, [[
        function operation(db, i)
          if i ~= 1 then return end
          os.execute "sleep 0.3"
        end
      ]], "--rate 200 --requests 100")
      assert.is_true(figures.max_ms >= 300)
      assert.is_true(figures.p50_ms >= 50)
    end)
  end)

  describe("SIGINT", function()
    local function interrupted(arguments, script, begun)
      local json = tester.directory .. "/figures.json"
      local pipe = assert(io.popen(("echo $$; exec %s/tidemark load %s %s --duration 60s --warmup 0 --json %s"):format(
        workspace.build, tester.write_script(script), arguments, json)))
      local pid = pipe:read "l"
      for _ = 1, 1000 do
        if begun() then break end
        os.execute "sleep 0.02"
      end
      os.execute("kill -INT " .. pid)
      local out = pipe:read "a"
      local _, how, status = pipe:close()
      assert.equal("exit", how)
      assert.equal(0, status, out)
      assert.matches(", interrupted", out, 1, true)
      local figures = cjson.decode(workspace.read(json))
      assert.is_true(figures.duration_s < 50)
      return figures, out
    end

    it("ends early, with a report and done()", function()
      local figures, out = interrupted("--threads 2 --connections 2 --url " .. tester.server.url,
        SAY .. "function delay() return 5 end\nfunction done(summary) say('requests', summary.requests) end",
        function() return #received() > 20 end)
      assert.is_true(figures.requests > 0)
      assert.equal(figures.requests, said(out).requests)
      assert.is_true(figures.requests <= #received())
    end)

    it("ends the open loop and the engine's too", function()
      local figures = interrupted("--rate 100 --url " .. tester.server.url, "", function() return #received() > 5 end)
      assert.is_true(figures.requests > 0)
      local mark = tester.directory .. "/begun"
      figures = interrupted("--rate 10 --engine " .. tester.directory .. "/db",
        ("function operation(_, i) if i == 3 then io.open('%s', 'w'):close() end end"):format(mark),
        function() return io.open(mark) end)
      assert.is_true(figures.requests >= 3)
    end)
  end)

  it("says when the tester was the limit", function()
    local busy = [[
      function request()
        local from = os.clock()
        while os.clock() - from < 0.005 do end
        return wrk.format()
      end
    ]]
    local _, out = expect(0, busy, "--rate 1000 --duration 200ms --warmup 0 --connections 100")
    assert.matches("note: the tester was the limit: it sent %d+ of %d+ requests over 1 ms after schedule though a", out)
    _, out = expect(0, "", "--requests 20 --connections 2", "/delay/20")
    assert.is_nil(out:find("the tester was the limit", 1, true))
  end)

  it("helps, with examples that have its own options only", function()
    local out, _, status = workspace.command "load --help"
    assert.equal(0, status)
    assert.matches("^usage: tidemark load SCRIPT.lua %-%-url URL", out)
    for option in ("threads connections requests rate pipeline duration warmup timeout json html engine url")
      :gmatch "%w+" do
      assert.matches("--" .. option, out, 1, true)
    end
    assert.matches("\nexamples:\n", out)
  end)
end)
