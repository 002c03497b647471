-- http_client.lua: a raw TCP client for specs. It sends any bytes in any pieces and reads answers strictly: what is no
-- well-formed answer raises. Every wait has a limit, so that no spec hangs.
local uv = require "luv"
local cjson = require "cjson"

local http_client = { limit_ms = 20000 }

local client = {}
client.__index = client
local answer_methods = {}
answer_methods.__index = answer_methods
local opened = setmetatable({}, { __mode = "k" })

--- Runs the loop until `done()` gives something true, which is returned, or the limit is reached.
function http_client.wait(done, limit_ms)
  local over = false
  uv.update_time()
  local timer = uv.new_timer()
  timer:start(limit_ms or http_client.limit_ms, 0, function() over = true end)
  local result = done()
  while not result and not over do
    uv.run "once"
    result = done()
  end
  timer:close()
  return result
end

function http_client.sleep(ms)
  http_client.wait(function() return false end, ms)
end

--- As wait, for what no event of the loop announces, such as a file: looks every 10 ms.
function http_client.poll(done, limit_ms)
  local until_ms = uv.hrtime() // 1000000 + (limit_ms or http_client.limit_ms)
  local result = done()
  while not result and uv.hrtime() // 1000000 < until_ms do
    http_client.sleep(10)
    result = done()
  end
  return result
end

--- A connection to 127.0.0.1:port, or nil and why not.
function http_client.connect(port)
  local self = setmetatable({ socket = uv.new_tcp(), buffer = "", parts = {}, held = 0, sent = 0 }, client)
  opened[self] = true
  local connected, failure
  self.socket:connect("127.0.0.1", port, function(err) connected, failure = not err, err end)
  http_client.wait(function() return connected or failure end)
  if not connected then
    self:close()
    return nil, failure or "time limit"
  end
  self.socket:nodelay(true)
  self.socket:read_start(function(err, bytes)
    if bytes then
      self.parts[#self.parts + 1] = bytes
      self.held = self.held + #bytes
    else
      self.ended = err or "end"
    end
  end)
  return self
end

function http_client.close_all()
  for one in pairs(opened) do one:close() end
end

--- Closes what is left in the loop and lets it end; an interpreter that ends with handles in the loop may crash.
function http_client.clean()
  uv.walk(function(handle)
    if not handle:is_closing() then handle:close() end
  end)
  while uv.loop_alive() do uv.run "nowait" end
end

--- Its own end, as the server's request.remote shows it.
function client:address()
  local name = self.socket:getsockname()
  return name.ip .. ":" .. name.port
end

--- Hands the bytes to the system, without waiting; a server that has closed makes no error here.
function client:send(bytes)
  self.sent = self.sent + 1
  self.socket:write(bytes, function() self.sent = self.sent - 1 end)
  return self
end

function client:flush()
  http_client.wait(function() return self.sent == 0 or self.ended end)
  return self
end

--- Sends in pieces of `size` bytes, each in a segment of its own as far as the system goes along.
function client:send_pieces(bytes, size, pause_ms)
  for i = 1, #bytes, size do
    if self.ended then break end
    self:send(bytes:sub(i, i + size - 1)):flush()
    http_client.sleep(pause_ms or 1)
  end
  return self
end

function client:shutdown()
  self.socket:shutdown()
  return self
end

function client:close()
  opened[self] = nil
  if not self.socket:is_closing() then self.socket:close() end
end

--- Closes with a reset.
function client:abort()
  opened[self] = nil
  if not self.socket:is_closing() then self.socket:close_reset() end
  uv.run "nowait"
end

local function check(value, message, text)
  return value or error(("%s in the answer: %q"):format(message, text:sub(1, 500)), 0)
end

local token = "[!#$%%&'*+%-.^_`|~%w]+"

local function parse_fields(text)
  local headers, counts, first = {}, {}, 1
  while first <= #text do
    local name, value, after = text:match("^(" .. token .. "):[ \t]*([^\r\n%z\1-\8\11-\31\127]*)\r\n()", first)
    check(name, "a malformed field", text:sub(first))
    name = name:lower()
    value = value:gsub("[ \t]+$", "")
    headers[name] = headers[name] and headers[name] .. ", " .. value or value
    counts[name] = (counts[name] or 0) + 1
    first = after
  end
  return headers, counts
end

-- A chunked body from `first`: its bytes and the position after it, or nil and how many bytes are needed.
local function parse_chunks(text, first)
  local parts = {}
  while true do
    local line_end = text:find("\r\n", first, true)
    if not line_end then return nil, #text + 1 end
    local size = tonumber(check(text:sub(first, line_end - 1):match "^(%x+)", "a malformed chunk", text:sub(first)), 16)
    first = line_end + 2
    if size == 0 then
      local last = text:sub(first, first + 1) == "\r\n" and first or text:find("\r\n\r\n", first, true)
      if not last then return nil, #text + 1 end
      return table.concat(parts), last == first and first + 2 or last + 4
    end
    if #text < first + size + 1 then return nil, first + size + 1 end
    parts[#parts + 1] = text:sub(first, first + size - 1)
    check(text:sub(first + size, first + size + 1) == "\r\n", "a chunk with a wrong length", text:sub(first))
    first = first + size + 2
  end
end

--- Takes one answer, interim ones too, off the beginning of `text`: the answer and the rest, or nil and the bytes needed.
function http_client.parse(text, method, ended)
  local head_end = text:find("\r\n\r\n", 1, true)
  if not head_end then
    check(#text < 9 or text:find "^HTTP/1%.[01] ", "no status line", text)
    return nil, #text + 1
  end
  local version, status, reason, first = text:match "^HTTP/(1%.[01]) ([1-5]%d%d) ([^\r\n]*)\r\n()"
  check(version, "no status line", text)
  local headers, counts = parse_fields(text:sub(first, head_end + 1))
  local answer = setmetatable({ version = version, status = math.tointeger(tonumber(status)), reason = reason,
    headers = headers, counts = counts, body = "" }, answer_methods)
  local body_first, coding, length = head_end + 4, headers["transfer-encoding"], headers["content-length"]
  check(not (coding and length), "both lengths", text)
  check(not length or counts["content-length"] == 1 and length:find "^%d+$", "a malformed length", text)
  check(not coding or coding == "chunked", "another transfer coding", text)
  if answer.status < 200 or answer.status == 204 then
    check(not coding and (not length or answer.status == 204 and length == "0"), "a length with no body", text)
    return answer, text:sub(body_first)
  end
  if answer.status == 304 or method == "HEAD" then return answer, text:sub(body_first) end
  if coding then
    local body, after = parse_chunks(text, body_first)
    if not body then return nil, after end
    answer.body = body
    return answer, text:sub(after)
  end
  if not length then -- it ends with the connection
    if not ended then return nil, #text + 1 end
    answer.body = text:sub(body_first)
    return answer, ""
  end
  local last = body_first + math.tointeger(tonumber(length)) - 1
  if #text < last then return nil, last end
  answer.body = text:sub(body_first, last)
  return answer, text:sub(last + 1)
end

--- The next answer, an interim one (100) too; or nil and "end", "ECONNRESET", … or "time limit", and the bytes there are.
function client:read(method, limit_ms)
  local found
  local needed = #self.buffer > 0 and 0 or 1
  http_client.wait(function()
    if #self.buffer + self.held >= needed or self.ended then
      self.buffer, self.parts, self.held = self.buffer .. table.concat(self.parts), {}, 0
      local answer, rest = http_client.parse(self.buffer, method, self.ended)
      if answer then
        found, self.buffer = answer, rest
      else
        needed = rest
      end
    end
    return found or self.ended
  end, limit_ms)
  if not found then return nil, self.ended or "time limit", self.buffer end
  return found
end

--- The next final answer, which has its Date; interim ones before it are counted in answer.interim.
function client:answer(method, limit_ms)
  local interim = 0
  while true do
    local answer, why, rest = self:read(method, limit_ms)
    if not answer then return nil, why, rest end
    if answer.status >= 200 then
      answer.interim = interim
      check(answer.counts.date == 1 and answer.headers.date:find "^%a%a%a, %d%d %a%a%a %d%d%d%d %d%d:%d%d:%d%d GMT$",
        "no Date", tostring(answer.status) .. " " .. answer.reason)
      return answer
    end
    interim = interim + 1
  end
end

--- Waits until the server has closed: the bytes that came before; nil when it does not.
function client:remains(limit_ms)
  if not http_client.wait(function() return self.ended end, limit_ms) then return nil end
  local bytes = self.buffer .. table.concat(self.parts)
  self.buffer, self.parts, self.held = "", {}, 0
  return bytes
end

--- A request's bytes; `headers` is a list of lines, Host and Content-Length are added where the list has none.
function http_client.format(method, target, headers, body)
  local lines, given = { ("%s %s HTTP/1.1"):format(method, target) }, ""
  for _, line in ipairs(headers or {}) do
    lines[#lines + 1] = line
    given = given .. "\n" .. line:lower()
  end
  if not given:find("\nhost:", 1, true) then table.insert(lines, 2, "Host: localhost") end
  if body and not given:find "\ncontent%-length:" and not given:find "\ntransfer%-encoding:" then
    lines[#lines + 1] = "Content-Length: " .. #body
  end
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or "")
end

--- Sends one request and reads its answer.
function client:ask(method, target, headers, body)
  self:send(http_client.format(method, target, headers, body))
  local answer, why, rest = self:answer(method)
  return answer or error(("no answer to %s %s: %s, %q"):format(method, target:sub(1, 100), why, (rest or ""):sub(1, 200)), 2)
end

--- The body as a Lua value.
function answer_methods:json()
  return cjson.decode(self.body)
end

--- The version in its ETag.
function answer_methods:version_tag()
  return math.tointeger(tonumber((self.headers.etag or ""):match '^"(%d+)"$'))
end

return http_client
