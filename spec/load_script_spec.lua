local tester = require "spec.support.load_tester"
local workspace = require "spec.support.workspace"

-- What tidemark load sends, and the hooks that wrk has, against spec/support/http_server.lua.
describe("tidemark load", function()
  local expect, received, no_errors = tester.expect, tester.received, tester.no_errors
  local SAY, said = tester.SAY, tester.said

  before_each(tester.open)
  after_each(tester.close)

  describe("what it sends", function()
    it("an empty script: GET of the URL, with Host", function()
      local figures = expect(0, "", "--requests 3 --connections 1", "/a/b?c=d%20e")
      assert.equal(3, figures.requests)
      no_errors(figures)
      local requests = received()
      assert.equal(3, #requests)
      for _, request in ipairs(requests) do
        assert.equal("GET", request.method)
        assert.equal("/a/b?c=d%20e", request.target)
        assert.same({ Host = "127.0.0.1:" .. tester.server.port }, request.headers)
        assert.equal("", request.body)
      end
    end)

    it("a URL without a path: /; with only a query: /?query; a fragment isn't sent", function()
      for path, target in pairs { [""] = "/", ["?q=1"] = "/?q=1", ["/x#part"] = "/x" } do
        expect(0, "", "--requests 1", path)
        local requests = received()
        assert.equal(target, requests[#requests].target)
      end
    end)

    it("wrk.method, wrk.path, wrk.headers, wrk.body: a POST", function()
      local figures = expect(0, [[
        wrk.method = "POST"
        wrk.path = "/echo"
        wrk.body = "name=Ada&born=1815"
        wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
        wrk.headers["X-Number"] = 7
      ]], "--requests 4 --connections 2")
      assert.equal(4, figures.requests)
      for _, request in ipairs(received()) do
        assert.equal("POST", request.method)
        assert.equal("/echo", request.target)
        assert.equal("name=Ada&born=1815", request.body)
        assert.same({ Host = "127.0.0.1:" .. tester.server.port, ["Content-Type"] = "application/x-www-form-urlencoded",
          ["X-Number"] = "7", ["Content-Length"] = "18" }, request.headers)
      end
    end)

    it("wrk.format(method, path, headers, body): nil is wrk's field", function()
      expect(0, [[
        wrk.headers["X-Mine"] = "yes"
        local texts, at = {}, 0
        function init()
          texts = { wrk.format(), wrk.format(nil, "/two"), wrk.format("PUT", nil, { ["X-Only"] = "1" }),
            wrk.format("PATCH", "/four", { Host = "example.test", ["content-length"] = "999" }, "four"),
            wrk.format("DELETE", "/five", nil, ""), wrk.format("POST", "/six", nil, ("s"):rep(100000)) }
        end
        function request()
          at = at + 1
          return texts[at]
        end
      ]], "--requests 6 --connections 1", "/start")
      local host = "127.0.0.1:" .. tester.server.port
      local expected = {
        { "GET", "/start", { Host = host, ["X-Mine"] = "yes" }, "" },
        { "GET", "/two", { Host = host, ["X-Mine"] = "yes" }, "" },
        { "PUT", "/start", { Host = host, ["X-Only"] = "1" }, "" },
        { "PATCH", "/four", { Host = "example.test", ["Content-Length"] = "4" }, "four" },
        { "DELETE", "/five", { Host = host, ["X-Mine"] = "yes", ["Content-Length"] = "0" }, "" },
        { "POST", "/six", { Host = host, ["X-Mine"] = "yes", ["Content-Length"] = "100000" }, ("s"):rep(100000) },
      }
      local requests = received()
      assert.equal(6, #requests)
      for i, request in ipairs(requests) do
        assert.same(expected[i], { request.method, request.target, request.headers, request.body })
      end
    end)

    it("several requests in one string, and nothing beyond --requests", function()
      local script = [[
        local n = 0
        function request()
          n = n + 3
          return wrk.format(nil, "/" .. n - 2) .. wrk.format("POST", "/" .. n - 1, nil, "body")
            .. wrk.format("HEAD", "/echo")
        end
      ]]
      local figures = expect(0, script, "--requests 10 --connections 1")
      assert.equal(10, figures.requests)
      no_errors(figures)
      local targets = {}
      for i, request in ipairs(received()) do
        targets[i] = request.method .. " " .. request.target .. " " .. request.body
      end
      assert.equal("GET /1 |POST /2 body|HEAD /echo |GET /4 |POST /5 body|HEAD /echo |GET /7 |POST /8 body|HEAD /echo "
        .. "|GET /10 ", table.concat(targets, "|"))
    end)

    it("the same string again and again, as wrk's pipeline script does", function()
      local figures = expect(0, [[
        local all
        function init(args)
          local depth, list = tonumber(args[1]), {}
          for i = 1, depth do list[i] = wrk.format(nil, "/gather/" .. depth) end
          all = table.concat(list)
        end
        function request() return all end
      ]], "--requests 40 --connections 2 -- 5")
      assert.equal(40, figures.requests)
      no_errors(figures)
      assert.equal(40, #received())
    end)

    it("--requests N: exactly N, whatever the threads, connections, pipelines", function()
      for options, n in pairs { ["--requests 1"] = 1, ["--requests 7 --threads 3 --connections 5"] = 7,
        ["--requests 100 --connections 3 --pipeline 8"] = 100, ["--requests 2 --threads 4"] = 2,
        ["--requests 501 --threads 2 --connections 4 --pipeline 4"] = 501,
        ["--requests 60 --rate 1000 --threads 2 --connections 2"] = 60,
        ["--requests 33 --rate 2000 --pipeline 4 --connections 1"] = 33 } do
        local before = #received()
        local figures = expect(0, "", options)
        assert.equal(n, #received() - before, options)
        assert.equal(n, figures.requests, options)
        assert.equal(0, figures.unsent)
        no_errors(figures)
      end
    end)

    it("--connections: as many, each used", function()
      expect(0, "", "--requests 12 --connections 6 --threads 2")
      local seen, count = {}, 0
      for _, request in ipairs(received()) do
        if not seen[request.connection] then count = count + 1 end
        seen[request.connection] = true
      end
      assert.equal(6, count)
    end)

    it("--pipeline D: D under way on a connection, never more; without it one", function()
      local figures = expect(0, "", "--requests 16 --connections 2 --pipeline 4", "/gather/4")
      assert.equal(16, figures.requests)
      no_errors(figures)
      expect(0, "", "--requests 16 --connections 2", "/delay/1")
      for _, request in ipairs(received()) do
        assert.is_true(request.waiting <= (request.target == "/delay/1" and 1 or 4))
      end
    end)
  end)

  describe("wrk's hooks", function()
    it("setup(thread): set, get and addr; done reads what the threads have left", function()
      local figures, out = expect(0, SAY .. [[
        local threads = {}
        function setup(thread)
          threads[#threads + 1] = thread
          thread:set("id", #threads)
          thread:set("config", { deep = { list = { 1, 2.5, "three" } }, yes = true })
          say("addr", thread.addr)
          say("of_setup", thread:get "id")
          say("missing", thread:get "missing")
        end
        answered = 0
        function request()
          assert(config.deep.list[3] == "three" and config.yes == true)
          assert(wrk.thread:get "id" == id)
          return wrk.format(nil, "/thread-" .. id)
        end
        function response()
          answered = answered + 1
          wrk.thread:set("last", { n = answered })
        end
        function done()
          local sum = 0
          for _, thread in ipairs(threads) do
            assert(thread:get "last".n == thread:get "answered")
            sum = sum + thread:get "answered"
          end
          say("threads", #threads)
          say("sum", sum)
        end
      ]], "--requests 11 --threads 3 --connections 3")
      assert.equal(11, figures.requests)
      assert.same({ addr = "127.0.0.1:" .. tester.server.port, of_setup = 3, missing = "nil", threads = 3, sum = 11 },
        said(out))
      local targets = {}
      for _, request in ipairs(received()) do targets[request.target] = (targets[request.target] or 0) + 1 end
      assert.same({ ["/thread-1"] = 4, ["/thread-2"] = 4, ["/thread-3"] = 3 }, targets)
    end)

    it("thread:set: what cannot be copied is refused by name", function()
      local _, _, err = expect(3, "function setup(thread) thread:set('f', print) end", "--requests 1")
      assert.matches("global f: cannot copy", err, 1, true)
      _, _, err = expect(3, "function setup(thread) thread.name = 'x' end", "--requests 1")
      assert.matches("no field name to set", err, 1, true)
    end)

    it("init(args): the URL is 0, then what follows --", function()
      local _, out = expect(0, SAY .. [[
        function init(args)
          say("zero", args[0])
          say("one", args[1])
          say("two", args[2])
          say("count", #args)
        end
      ]], "--requests 1 -- --first 'sec ond'")
      assert.same({ zero = tester.server.url, one = "--first", two = "sec ond", count = 2 }, said(out))
      _, out = expect(0, SAY .. "function init(args) say('count', #args) end", "--requests 1")
      assert.equal(0, said(out).count)
    end)

    it("init in each thread, in a state of its own", function()
      local _, out = expect(0, SAY .. [[
        local calls = 0
        function init() calls = calls + 1; say("init", calls) end
      ]], "--requests 6 --threads 3 --connections 3")
      assert.equal(3, select(2, out:gsub("@init=1\n", "")))
    end)

    it("delay(): at least so long before each request", function()
      local figures = expect(0, "function delay() return 100 end", "--requests 5 --connections 1")
      assert.equal(5, figures.requests)
      assert.is_true(figures.duration_s >= 0.45, figures.duration_s)
      assert.is_true(figures.p50_ms < figures.duration_s * 1000 / 2) -- it is in no latency
      figures = expect(0, "function delay() return 0 end", "--requests 50 --connections 5")
      assert.equal(50, figures.requests)
      figures = expect(0, "function delay() error 'asked' end", "--requests 10 --rate 500") -- the schedule says when
      assert.equal(10, figures.requests)
    end)

    it("request(): a counter in path and header", function()
      expect(0, [[
        local counter = 0
        request = function()
          counter = counter + 1
          wrk.headers["X-Counter"] = counter
          return wrk.format(nil, "/item/" .. counter)
        end
      ]], "--requests 25 --connections 4")
      local seen = {}
      for _, request in ipairs(received()) do
        assert.equal("/item/" .. request.headers["X-Counter"], request.target)
        seen[tonumber(request.headers["X-Counter"])] = true
      end
      assert.equal(25, #seen)
    end)

    it("response(status, headers, body): headers as received, bodies whole", function()
      local _, out = expect(0, SAY .. [[
        local paths = { "/echo?x", "/chunked", "/slow-chunks", "/status/404", "/status/204", "/continue",
          "/until-close" }
        local sent, answered = 0, 0
        function request()
          sent = sent + 1
          return wrk.format(nil, paths[sent])
        end
        function response(status, headers, body)
          answered = answered + 1
          local names = {}
          for name, value in pairs(headers) do names[#names + 1] = name .. ": " .. value end
          table.sort(names)
          say("answer" .. answered, ("%d|%s|%s"):format(status, table.concat(names, "|"), body))
        end
      ]], "--requests 7 --connections 1")
      assert.same({
        answer1 = "200|Content-Length: 7|Content-Type: text/plain|X-Mixed-Case: as IT was|x-lower: 1|/echo?x",
        answer2 = "200|Transfer-Encoding: chunked|X-Kind: chunks|X-Trailer: end|hello, world",
        answer3 = "200|Transfer-Encoding: chunked|hello, world",
        answer4 = "404|Content-Length: 11|status 404",
        answer5 = "204||",
        answer6 = "200|Content-Length: 4|X-Kind: final|done",
        answer7 = "200||to the end",
      }, said(out))
    end)

    it("response(): the answer to HEAD has no body, the next one isn't taken for it", function()
      local _, out = expect(0, SAY .. [[
        local n, m = 0, 0
        function request()
          n = n + 1
          return wrk.format(n % 2 == 1 and "HEAD" or "POST", "/echo", nil, n % 2 == 0 and "posted" or nil)
        end
        function response(status, headers, body)
          m = m + 1
          say("body" .. m, status .. headers["Content-Length"] .. body)
        end
      ]], "--requests 4 --connections 1 --pipeline 2")
      assert.same({ body1 = 2005, body2 = "2006posted", body3 = 2005, body4 = "2006posted" }, said(out))
      local figures = expect(0, 'wrk.method = "HEAD"', "--requests 20 --connections 2 --pipeline 3", "/echo")
      assert.equal(20, figures.requests)
      no_errors(figures)
    end)

    it("large bodies, both ways, in the pieces that the kernel takes", function()
      local _, out = expect(0, SAY .. [[
        local body, whole = ("0123456789abcdef"):rep(1 << 17), 0
        wrk.method, wrk.path, wrk.body = "POST", "/echo", body
        function response(status, headers, received)
          if status == 200 and received == body then whole = whole + 1 end
          say("whole", whole)
        end
      ]], "--requests 6 --connections 2 --pipeline 2 --timeout 20s")
      assert.equal(6, said(out).whole)
      for _, request in ipairs(received()) do assert.equal(1 << 21, #request.body) end
    end)

    it("a token from the first answer is shown from then on", function()
      local figures = expect(0, [[
        token, path = nil, "/authenticate"
        request = function() return wrk.format("GET", path) end
        response = function(status, headers)
          if not token and status == 200 then
            token = headers["X-Token"]
            path = "/resource"
            wrk.headers["X-Token"] = token
          end
        end
      ]], "--requests 9 --connections 1")
      assert.same({ ["200"] = 9 }, figures.status)
      for i, request in ipairs(received()) do
        assert.equal(i == 1 and "/authenticate" or "/resource", request.target)
        assert.equal(i > 1 and "secret-42" or nil, request.headers["X-Token"])
      end
    end)

    it("done(summary, latency, requests)", function()
      local figures, out = expect(0, SAY .. [[
        local n = 0
        function request()
          n = n + 1
          return wrk.format(nil, n % 5 == 0 and "/status/503" or "/delay/5")
        end
        function done(summary, latency, requests)
          for _, name in ipairs { "duration", "requests", "bytes" } do say(name, summary[name]) end
          for name, count in pairs(summary.errors) do say("errors_" .. name, count) end
          for _, name in ipairs { "min", "max", "mean", "stdev" } do
            say("latency_" .. name, latency[name])
            say("rate_" .. name, requests[name])
          end
          local count, before = 0, -1
          for i = 1, #latency do
            local value, times = latency(i)
            assert(value > before and times > 0)
            count, before = count + times, value
          end
          assert(before == latency.max and select(2, latency(#latency + 1)) == 0)
          assert(latency(1) == latency(1) and select("#", latency(2)) == 2) -- back again
          say("count", count)
          say("p50", latency:percentile(50))
          say("p100", latency:percentile(100))
          say("p99_9", latency:percentile(99.9))
          assert(not pcall(latency.percentile, latency, 101) and not pcall(latency, 0))
          assert(latency.unknown == nil)
          say("rates", #requests)
        end
      ]], "--duration 400ms --warmup 0 --connections 2")
      local values = said(out)
      assert.equal(figures.requests, values.requests)
      assert.equal(figures.requests, values.count)
      assert.equal(figures.bytes_received, values.bytes)
      assert.is_true(math.abs(figures.duration_s * 1e6 - values.duration) < 2)
      for _, kind in ipairs { "connect", "read", "write", "timeout", "status" } do
        assert.equal(figures.error_kinds[kind], values["errors_" .. kind])
      end
      assert.equal(figures.status["503"], values.errors_status)
      -- Microseconds here, milliseconds there; three digits.
      assert.is_true(math.abs(values.latency_max - figures.max_ms * 1000) <= 1.001)
      assert.is_true(math.abs(values.latency_mean / figures.mean_ms / 1000 - 1) < 1e-6)
      assert.is_true(math.abs(values.p50 / figures.p50_ms / 1000 - 1) < 0.003)
      assert.equal(values.latency_max, values.p100)
      assert.is_true(values.latency_min <= values.p50 and values.p50 <= values.p99_9 and values.p99_9 <= values.p100)
      assert.is_true(values.latency_stdev > 0)
      assert.is_true(values.p50 >= 4000 and values.p50 < 1e6) -- most of them had to wait 5 ms
      assert.is_true(values.rates >= 1 and values.rate_max >= values.rate_mean and values.rate_min <= values.rate_mean)
    end)

    it("done prints a report, after the table", function()
      local _, out = expect(0, [[
        done = function(summary, latency)
          io.write("------------------------------\n")
          for _, p in pairs { 50, 90, 99, 99.999 } do
            io.write(string.format("%g%%,%d\n", p, latency:percentile(p)))
          end
        end
      ]], "--requests 10")
      assert.matches("\nstatuses\n.*\n%-+\n50%%,%d+\n90%%,%d+\n99%%,%d+\n99.999%%,%d+\n$", out)
    end)

    it("wrk.lookup, wrk.connect: setup spreads the threads over the addresses", function()
      local other = tester.start_server()
      local _, out = expect(0, SAY .. ([[
        local addrs = {}
        for _, port in ipairs { %s, "%s" } do
          for _, addr in ipairs(wrk.lookup("127.0.0.1", port)) do
            assert(wrk.connect(addr) == true)
            addrs[#addrs + 1] = addr
          end
        end
        local counter = 0
        function setup(thread)
          counter = counter + 1
          thread.addr = addrs[counter]
          say("addr" .. counter, thread.addr)
        end
        local closed, reason = wrk.connect(wrk.lookup("127.0.0.1", 1)[1])
        say("closed", tostring(closed) .. ": " .. reason)
        say("lookup", select(2, pcall(wrk.lookup, "127.0.0.1", "no-such-service")))
        assert(not pcall(function() wrk.thread.addr = "127.0.0.1" end))
      ]]):format(tester.server.port, other.port), "--requests 10 --threads 2 --connections 2")
      local values = said(out)
      assert.equal("127.0.0.1:" .. tester.server.port, values.addr1)
      assert.equal("127.0.0.1:" .. other.port, values.addr2)
      assert.equal("false: Connection refused", values.closed)
      assert.matches("cannot look up 127.0.0.1:no-such-service", values.lookup, 1, true)
      assert.equal(5, #received())
      assert.equal(5, #received(other))
    end)

    it("thread:stop() ends the thread", function()
      local figures = expect(0, [[
        local counter = 0
        function response()
          counter = counter + 1
          if counter == 20 then wrk.thread:stop() end
        end
      ]], "--duration 60s --warmup 0 --connections 3")
      assert.equal(20, figures.requests)
      assert.is_true(figures.duration_s < 50)
      figures = expect(0, [[
        local counter = 0
        function request()
          counter = counter + 1
          if counter == 4 then wrk.thread:stop() end
          return wrk.format()
        end
      ]], "--duration 60s --warmup 0 --connections 1")
      assert.equal(3, figures.requests)
      figures = expect(0, [[
        local first = true
        function setup(thread)
          if first then thread:stop() end
          first = false
        end
      ]], "--requests 10 --threads 2 --connections 2")
      assert.equal(5, figures.requests)
      assert.equal(5, figures.unsent)
    end)

    it("hooks may be set and replaced while it runs", function()
      expect(0, [[
        function request()
          request = function() return wrk.format(nil, "/second") end
          return wrk.format(nil, "/first")
        end
      ]], "--requests 3 --connections 1")
      local targets = {}
      for i, request in ipairs(received()) do targets[i] = request.target end
      assert.same({ "/first", "/second", "/second" }, targets)
    end)

    it("scheme, host, port, path as the URL has them", function()
      local _, out = expect(0, SAY .. [[
        for _, name in ipairs { "scheme", "host", "port", "path", "method" } do say(name, wrk[name]) end
        say("type", type(wrk.port))
      ]], "--requests 1", "/p?q")
      assert.same({ scheme = "http", host = "127.0.0.1", port = tonumber(tester.server.port), path = "/p?q",
        method = "GET", type = "string" }, said(out))
    end)

    it("wrk's own example scripts run unchanged", function()
      local folder = "/usr/share/doc/wrk/examples/scripts/"
      if not io.open(folder .. "report.lua") then
        pending("there is no " .. folder)
        return
      end
      local scripts = {}
      for _, name in ipairs { "addr", "auth", "counter", "delay", "pipeline", "post", "report", "setup" } do
        local script = workspace.read(folder .. name .. ".lua")
        local figures, out = expect(0, script, "--requests 40 --threads 2 --connections 4")
        assert.equal(40, figures.requests, name)
        no_errors(figures)
        scripts[name] = out
      end
      local address = "thread addr: 127.0.0.1:" .. tester.server.port
      assert.equal(2, select(2, scripts.addr:gsub(address, "")))
      assert.matches("thread 2 made 20 requests and got 20 responses", scripts.setup, 1, true)
      assert.matches("\n99%%,%d+\n", scripts.report)
      assert.equal(320, #received())
      -- It stops a thread at its 100th answer.
      local figures = expect(0, workspace.read(folder .. "stop.lua"), "--duration 60s --warmup 0 --threads 2")
      assert.equal(200, figures.requests)
    end)

    it("an error in a hook: 3, with the place", function()
      for _, hook in ipairs { "setup", "init", "request", "response", "delay", "done" } do
        local _, _, err = expect(3, ("\nfunction %s() error 'broken %s' end"):format(hook, hook), "--requests 5")
        assert.matches("script.lua:2: broken " .. hook, err, 1, true)
        assert.matches("stack traceback", err, 1, true)
      end
    end)

    it("a request that is none: 3, and it says so", function()
      for text, reason in pairs { ["nil"] = "request() returned nil", ["{}"] = "request() returned table",
        ["'hello'"] = "cannot be sent", ["''"] = "cannot be sent", ["'GET / HTTP/1.1\\r\\n'"] = "cannot be sent",
        ["wrk.format() .. 'GET /'"] = "cannot be sent",
        ["wrk.format(nil, {})"] = "strings, and a table of headers" } do
        local _, _, err = expect(3, ("function request() return %s end"):format(text), "--requests 5")
        assert.matches(reason, err, 1, true)
      end
      local _, _, err = expect(3, "function delay() return 'soon' end", "--requests 5")
      assert.matches("delay() returned string, not a number", err, 1, true)
    end)
  end)
end)
