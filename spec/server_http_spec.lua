local serving = require "spec.support.serving"

-- HTTP on the wire: what is understood, however it comes in, and what is refused.
describe("HTTP", function()
  local server

  setup(function()
    server = serving.start { app = [[
      local uv = require "luv"
      local app = ...
      app:post("/body", function(request) return 200, request.body, { ["X-Length"] = tostring(#request.body) } end)
      app:get("/body", function(request) return 200, request.body end)
      app:get("/number/:n", function(request) return 200, request.params.n end)
      app:get("/later/:n", function(request)
        local handler, timer = coroutine.running(), uv.new_timer()
        timer:start(20, 0, function()
          timer:close()
          assert(coroutine.resume(handler))
        end)
        coroutine.yield()
        return 200, request.params.n
      end)
      app:get("/headers", function(request) return 200, request.headers end)
      app:post("/headers", function(request) return 200, request.headers end)
      local reached = 0
      app:get("/smuggled", function() reached = reached + 1 return 200 end)
      app:post("/smuggled", function() reached = reached + 1 return 200 end)
      app:get("/reached", function() return 200, { count = reached } end)]] }
  end)
  teardown(serving.clean)

  -- Sends the bytes on a connection of their own; the first answer and the client.
  local function send(bytes)
    local client = server:connect()
    client:send(bytes)
    return assert(client:answer()), client
  end

  local chunked = "POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n"
    .. "4;name=value;quoted=\"a;b\"\r\nWiki\r\n00005\r\npedia\r\nA\r\n in\r\nchunk\r\n"
    .. "0;last\r\nX-Trailer: t\r\nX-Other: o\r\n\r\n"
  local chunked_body = "Wikipedia in\r\nchunk"

  it("takes a chunked body with extensions and trailers", function()
    local answer, client = send(chunked)
    assert.same({ 200, chunked_body }, { answer.status, answer.body })
    assert.equal("7", client:ask("GET", "/number/7").body) -- in step
  end)

  it("takes a request cut at each byte", function()
    for _, request in ipairs { chunked, "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello" } do
      local client = server:connect()
      for i = 1, #request - 1 do
        client:send(request:sub(1, i)):flush()
        client:send_pieces(request:sub(i + 1), #request, 0)
        local answer = assert(client:answer())
        assert.same({ 200, request == chunked and chunked_body or "hello" }, { answer.status, answer.body }, "cut at " .. i)
      end
    end
  end)

  it("takes requests byte by byte, and two in one piece cut anywhere", function()
    local client = server:connect()
    client:send_pieces(chunked, 1, 0)
    assert.equal(chunked_body, assert(client:answer()).body)
    local two = "GET /number/1 HTTP/1.1\r\nHost: x\r\n\r\nGET /number/2 HTTP/1.1\r\nHost: x\r\n\r\n"
    for i = 30, 50 do
      client:send(two:sub(1, i)):flush()
      client:send_pieces(two:sub(i + 1), #two, 0)
      assert.equal("1", assert(client:answer()).body)
      assert.equal("2", assert(client:answer()).body)
    end
  end)

  it("answers pipelined requests in their order", function()
    local client, lines = server:connect(), {}
    for i = 1, 500 do
      lines[i] = ("GET /%s/%d HTTP/1.1\r\nHost: x\r\n\r\n"):format(i % 7 == 0 and "later" or "number", i)
    end
    client:send(table.concat(lines))
    for i = 1, 500 do assert.equal(tostring(i), assert(client:answer()).body) end
  end)

  it("answers pipelined requests with bodies, errors among them", function()
    local client, lines = server:connect(), {}
    for i = 1, 30 do
      lines[#lines + 1] = ("POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"):format(#tostring(i), i)
      lines[#lines + 1] = "GET /nobody HTTP/1.1\r\nHost: x\r\n\r\nHEAD /number/5 HTTP/1.1\r\nHost: x\r\n\r\n"
    end
    client:send(table.concat(lines))
    for i = 1, 30 do
      assert.equal(tostring(i), assert(client:answer()).body)
      assert.equal(404, assert(client:answer()).status)
      assert.equal("1", assert(client:answer "HEAD").headers["content-length"])
    end
  end)

  it("goes on with 100 where the client waits for it", function()
    local client = server:connect()
    client:send "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    assert.equal(100, assert(client:read()).status)
    client:send "hello"
    assert.equal("hello", assert(client:answer()).body)
    client:send "POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nexpect: 100-Continue\r\n\r\n"
    assert.equal(100, assert(client:read()).status)
    client:send "5\r\nhello\r\n0\r\n\r\n"
    assert.equal("hello", assert(client:answer()).body)
    client:send "POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello"
    local answer = assert(client:answer())
    assert.same({ 200, "hello" }, { answer.status, answer.body })
    assert.is_true(answer.interim <= 1)
    client = server:connect()
    client:send "POST /body HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello"
    assert.equal(0, assert(client:answer()).interim)
  end)

  it("of version 1.0 ends after the answer, or is kept alive where asked for", function()
    local answer, client = send "GET /number/1 HTTP/1.0\r\n\r\n"
    assert.same({ 200, "1" }, { answer.status, answer.body })
    assert.is_nil(answer.headers["transfer-encoding"])
    assert.equal("", client:remains())
    answer, client = send "GET /number/1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    assert.equal("1", answer.body)
    assert.equal("keep-alive", answer.headers.connection:lower())
    client:send "GET /number/2 HTTP/1.0\r\n\r\n"
    assert.equal("2", assert(client:answer()).body)
    assert.equal("", client:remains())
  end)

  it("of version 1.1 is kept alive, or ends where asked for", function()
    local answer, client = send "GET /number/1 HTTP/1.1\r\nHost: x\r\n\r\n"
    assert.is_nil((answer.headers.connection or ""):find "close")
    client:send "GET /number/2 HTTP/1.1\r\nHost: x\r\nConnection: TE, Close\r\n\r\nGET /number/3 HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = assert(client:answer())
    assert.same({ "2", "close" }, { answer.body, answer.headers.connection:lower() })
    assert.equal("", client:remains())
  end)

  it("answers a client that has closed its sending side", function()
    local client = server:connect()
    client:send("GET /later/1 HTTP/1.1\r\nHost: x\r\n\r\nGET /number/2 HTTP/1.1\r\nHost: x\r\n\r\n"):shutdown()
    assert.equal("1", assert(client:answer()).body)
    assert.equal("2", assert(client:answer()).body)
    assert.equal("", client:remains())
  end)

  it("survives clients that go away", function()
    for _, bytes in ipairs { "", "GET", "GET /later/1 HTTP/1.1\r\nHost: x\r\n\r\n", "POST /body HTTP/1.1\r\nHost: x\r\n"
      .. "Content-Length: 50\r\n\r\nhello", ("GET /number/1 HTTP/1.1\r\nHost: x\r\n\r\n"):rep(300) } do
      for _, how in ipairs { "close", "abort" } do
        local client = server:connect()
        client:send(bytes):flush()
        client[how](client)
      end
    end
    assert.equal(200, server:ask("GET", "/number/1").status)
  end)

  it("takes fields as they may be", function()
    local headers = send("GET /headers HTTP/1.1\r\nHOST:x\r\nX-Tab:\t a\tb\t \r\nX-Empty:\r\n"
      .. "X-!#$%&'*+.^_`|~1: token\r\n\r\n"):json()
    assert.same({ "x", "a\tb", "", "token" },
      { headers.host, headers["x-tab"], headers["x-empty"], headers["x-!#$%&'*+.^_`|~1"] })
    assert.equal(200, send("GET /number/1 HTTP/1.1\r\nHost: x\r\nX-Byte: \228\r\n\r\n").status)
  end)

  it("passes over empty lines before a request", function()
    assert.equal("1", send("\r\nGET /number/1 HTTP/1.1\r\nHost: x\r\n\r\n").body)
  end)

  it("takes a body with GET, and an empty one", function()
    assert.equal("hello", server:ask("GET", "/body", nil, "hello").body)
    assert.equal("", server:ask("POST", "/body", nil, "").body)
    assert.equal("", send("POST /body HTTP/1.1\r\nHost: x\r\n\r\n").body)
    assert.equal("", send("POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n").body)
  end)

  it("does not let trailers change the head", function()
    local answer, client = send("POST /headers HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
      .. "Host: evil\r\nContent-Length: 100\r\nAuthorization: evil\r\n\r\n")
    if answer.status == 200 then
      assert.equal("x", answer:json().host)
      assert.is_nil(answer:json().authorization)
      assert.is_nil(answer:json()["content-length"])
      assert.equal("7", client:ask("GET", "/number/7").body)
    else
      assert.equal(400, answer.status)
    end
  end)

  it("ignores Upgrade", function()
    for _, protocol in ipairs { "websocket", "h2c", "TLS/1.0" } do
      local answer, client = send(("GET /number/1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n"
        .. "GET /number/2 HTTP/1.1\r\nHost: x\r\n\r\n"):format(protocol))
      assert.same({ 200, "1" }, { answer.status, answer.body })
      assert.equal("2", assert(client:answer()).body)
    end
    local answer, client = send("POST /body HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
      .. "Content-Length: 5\r\n\r\nhelloGET /number/2 HTTP/1.1\r\nHost: x\r\n\r\n")
    assert.equal("hello", answer.body)
    assert.equal("2", assert(client:answer()).body)
    answer = send "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n"
    assert.is_true(answer.status >= 400)
  end)

  local host = "Host: x\r\n"
  local tail = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
  local function post(fields, body) return "POST /smuggled HTTP/1.1\r\n" .. host .. fields .. "\r\n" .. (body or "") end
  local function get(fields) return "GET /smuggled HTTP/1.1\r\n" .. host .. fields .. "\r\n" end
  local refused = {
    ["both lengths"] = post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    ["both lengths, the other way round"] = post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
    ["differing lengths"] = post("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"),
    ["differing lengths in a list"] = post("Content-Length: 5, 6\r\n", "hello"),
    ["a negative length"] = post("Content-Length: -5\r\n", "hello"),
    ["a signed length"] = post("Content-Length: +5\r\n", "hello"),
    ["a hexadecimal length"] = post("Content-Length: 0x5\r\n", "hello"),
    ["a length with a space in it"] = post("Content-Length: 5 5\r\n", "hello"),
    ["no digits in a length"] = post("Content-Length: five\r\n", "hello"),
    ["an empty length"] = post("Content-Length:\r\n", "hello"),
    ["a length that overflows"] = post("Content-Length: 18446744073709551621\r\n", "hello"),
    ["a fraction as length"] = post("Content-Length: 5.0\r\n", "hello"),
    ["gzip, chunked"] = post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
    ["chunked, chunked"] = post("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
    ["chunked twice"] = post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    ["chunked, identity"] = post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
    ["identity"] = post("Transfer-Encoding: identity\r\n", ""),
    ["gzip"] = post("Transfer-Encoding: gzip\r\n", "0\r\n\r\n"),
    ["xchunked"] = post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
    ["chunked with a control byte"] = post("Transfer-Encoding: \vchunked\r\n", "0\r\n\r\n"),
    ["no transfer coding"] = post("Transfer-Encoding:\r\n", "0\r\n\r\n"),
    ["a space before the colon"] = post("Content-Length : 5\r\n", "hello"),
    ["a tab before the colon"] = post("Transfer-Encoding\t: chunked\r\n", "0\r\n\r\n"),
    ["a folded line"] = get("X-A: b\r\n c\r\n"),
    ["a folded line with a tab"] = get("X-A: b\r\n\tc\r\n"),
    ["a folded first line"] = "GET /smuggled HTTP/1.1\r\n X-A: b\r\n" .. host .. "\r\n",
    ["a bare LF after the request line"] = "GET /smuggled HTTP/1.1\nHost: x\r\n\r\n",
    ["a bare LF after a field"] = get("X-A: b\nX-B: c\r\n"),
    ["a bare LF at the head's end"] = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\n",
    ["a bare CR after a field"] = get("X-A: b\rX-B: c\r\n"),
    ["a bare CR in a value"] = get("X-A: b\r\rc\r\n"),
    ["a bare CR in the request line"] = "GET /smuggled HTTP/1.1\rHost: x\r\n\r\n",
    ["NUL in a value"] = get("X-A: b\0c\r\n"),
    ["a control byte in a value"] = get("X-A: b\1c\r\n"),
    ["DEL in a value"] = get("X-A: b\127c\r\n"),
    ["NUL in a name"] = get("X\0A: b\r\n"),
    ["a space in a name"] = get("X A: b\r\n"),
    ["no name"] = get(": b\r\n"),
    ["no colon"] = get("X-A\r\n"),
    ["NUL in the target"] = "GET /smuggled\0 HTTP/1.1\r\n" .. host .. "\r\n",
    ["a control byte in the target"] = "GET /smug\1gled HTTP/1.1\r\n" .. host .. "\r\n",
    ["DEL in the target"] = "GET /smuggled\127 HTTP/1.1\r\n" .. host .. "\r\n",
    ["a tab in the target"] = "GET /smuggled\tx HTTP/1.1\r\n" .. host .. "\r\n",
    ["a space in the target"] = "GET /smuggled x HTTP/1.1\r\n" .. host .. "\r\n",
    ["no Host"] = "GET /smuggled HTTP/1.1\r\n\r\n",
    ["two Hosts"] = "GET /smuggled HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
    ["HTTP/0.9"] = "GET /smuggled\r\n\r\n",
    ["HTTP/0.9 by name"] = "GET /smuggled HTTP/0.9\r\n" .. host .. "\r\n",
    ["no version"] = "GET /smuggled \r\n" .. host .. "\r\n",
    ["half a version"] = "GET /smuggled HTTP/1\r\n" .. host .. "\r\n",
    ["another protocol"] = "GET /smuggled HTTPS/1.1\r\n" .. host .. "\r\n",
    ["a version in lower case"] = "GET /smuggled http/1.1\r\n" .. host .. "\r\n",
    ["no target"] = "GET HTTP/1.1\r\n" .. host .. "\r\n",
    ["a target that is no path"] = "GET smuggled HTTP/1.1\r\n" .. host .. "\r\n",
    ["no method"] = " /smuggled HTTP/1.1\r\n" .. host .. "\r\n",
    ["a TLS hello"] = "\22\3\1\0\165\1\0\0\161\3\3",
    ["a chunk size that is none"] = post("Transfer-Encoding: chunked\r\n", "x\r\nhello\r\n0\r\n\r\n"),
    ["a chunk size with 0x"] = post("Transfer-Encoding: chunked\r\n", "0x5\r\nhello\r\n0\r\n\r\n"),
    ["a negative chunk size"] = post("Transfer-Encoding: chunked\r\n", "-5\r\nhello\r\n0\r\n\r\n"),
    ["a chunk size that overflows"] = post("Transfer-Encoding: chunked\r\n", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ["a space before a chunk size"] = post("Transfer-Encoding: chunked\r\n", " 5\r\nhello\r\n0\r\n\r\n"),
    ["a bare LF after a chunk size"] = post("Transfer-Encoding: chunked\r\n", "5\nhello\r\n0\r\n\r\n"),
    ["a bare LF after a chunk"] = post("Transfer-Encoding: chunked\r\n", "5\r\nhello\n0\r\n\r\n"),
    ["a chunk longer than its size"] = post("Transfer-Encoding: chunked\r\n", "5\r\nhello!\r\n0\r\n\r\n"),
    ["a bare LF in a chunk extension"] = post("Transfer-Encoding: chunked\r\n", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
    ["a bare LF at the trailers' end"] = post("Transfer-Encoding: chunked\r\n", "0\r\nX-A: b\r\n\n"),
    ["a malformed trailer"] = post("Transfer-Encoding: chunked\r\n", "0\r\nX A: b\r\n\r\n"),
  }
  local names = {}
  for name in pairs(refused) do names[#names + 1] = name end
  table.sort(names)

  for _, name in ipairs(names) do
    it("refuses " .. name, function()
      local before = server:ask("GET", "/reached"):json().count
      for _, piecewise in ipairs { false, true } do
        local client = server:connect()
        if piecewise then
          client:send_pieces(refused[name] .. tail, 1, 0)
        else
          client:send(refused[name] .. tail)
        end
        local answer = assert(client:answer())
        serving.problem(answer, 400)
        assert.equal("close", answer.headers.connection:lower())
        assert.equal("", client:remains())
      end
      assert.equal(before, server:ask("GET", "/reached"):json().count)
    end)
  end

  it("refuses other versions and answers what came before the refused", function()
    local answer = send "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    assert.is_true(answer.status == 400 or answer.status == 505)
    local first, client = send("GET /later/1 HTTP/1.1\r\nHost: x\r\n\r\nGET /number/2 HTTP/1.1\r\nHost: x\r\n\r\n"
      .. "nonsense\r\n\r\n")
    assert.equal("1", first.body)
    assert.equal("2", assert(client:answer()).body)
    serving.problem(assert(client:answer()), 400)
    assert.equal("", client:remains())
  end)

  it("has its refusals seen by a client that is still sending", function()
    local client = server:connect()
    client:send(post("Content-Length: x\r\n") .. ("x"):rep(2000000))
    serving.problem(assert(client:answer()), 400)
    assert.is_string(client:remains())
  end)
end)
