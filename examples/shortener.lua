-- A URL shortener: POST a URL, get a code; GET the code, be sent there; each visit is counted.
--
-- It shows input that is checked before it is trusted (a URL ends up in a header), names that cannot be guessed, an id
-- that only one client can take, and a count that is exact although all threads count at once.
--
--   build/tidemark serve examples/shortener.lua --db data/shortener
--
--   curl -i http://127.0.0.1:8080/links --json '{"url": "https://www.lua.org/manual/5.4/", "code": "manual"}'
--   curl -i http://127.0.0.1:8080/links --json '{"url": "https://www.lua.org/"}'         # 201, Location: /xK3v9_dQ
--   curl -i http://127.0.0.1:8080/manual                          # 302
--   curl -i http://127.0.0.1:8080/links/manual                    # its hits
--   curl -i http://127.0.0.1:8080/links/manual -X DELETE
local app, db = ...
local uv = require "luv"
local links = db:collection "links"

local URL_BYTES_MAX = 2048
local CODE_LENGTH = 8 -- 48 random bits
local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
local RESERVED = { links = true, health = true, ready = true, metrics = true }

local STATUS = { exists = 409, not_found = 404, invalid = 422, timeout = 504, full = 507, read_only = 403 }

local function problem(status, code, detail)
  return status, { status = status, code = code, detail = status < 500 and detail or nil },
    { ["Content-Type"] = "application/problem+json" }
end

local function refused(message, code)
  return problem(STATUS[code] or 503, code, message)
end

--- nil, or what is wrong with the URL. It goes into a header as it is: printable ASCII only, the rest percent-encoded.
local function url_fault(url)
  if type(url) ~= "string" then return "url: a text is needed" end
  if #url > URL_BYTES_MAX then return ("url: longer than %d bytes"):format(URL_BYTES_MAX) end
  if url:find "[^\x21-\x7e]" then return "url: only printable ASCII; the rest is to be percent-encoded" end
  local scheme, authority = url:match "^(%a+)://([^/?#]*)"
  scheme = scheme and scheme:lower()
  if scheme ~= "http" and scheme ~= "https" then return "url: http:// or https:// is needed" end
  if authority:find "@" then return "url: no user name" end -- https://bank.example@evil.example
  local host = authority:gsub(":%d*$", "")
  if not (host:find "^[%w.-]*%w[%w.-]*$" or host:find "^%[[%x:.]+%]$") then return "url: no host" end
end

local function code_fault(code)
  if type(code) ~= "string" or not code:find "^[%w_-]+$" or #code > 64 or RESERVED[code] then
    return "code: 1 to 64 of A-Z a-z 0-9 _ -, and no name of ours"
  end
end

local function random_code()
  return (uv.random(CODE_LENGTH):gsub(".", function(byte)
    local place = byte:byte() % #ALPHABET + 1 -- 64 divides 256: all are as likely
    return ALPHABET:sub(place, place)
  end))
end

app:post("/links", function(request)
  local sent, fault = request:json()
  if fault then return problem(400, "bad_request", fault) end
  if type(sent) ~= "table" then return problem(422, "invalid", "an object is needed") end
  fault = url_fault(sent.url) or sent.code ~= nil and code_fault(sent.code)
  if fault then return problem(422, "invalid", fault) end
  local code, version, reason
  repeat
    code, version, reason = links:create { id = sent.code or random_code(), url = sent.url, hits = 0 }
  until code or reason ~= "exists" or sent.code
  if not code then return refused(version, reason) end
  return 201, { code = code, url = sent.url, hits = 0 }, { Location = "/" .. code }
end)

app:get("/links/:code", function(request)
  local link = links:get(request.params.code)
  if not link then return problem(404, "not_found", "no such link") end
  return 200, { code = link.id, url = link.url, hits = link.hits }
end)

app:delete("/links/:code", function(request)
  local ok, message, code = links:delete(request.params.code)
  if not ok then return refused(message, code) end
  return 204
end)

--- Counts a visit; returns the link, or nil where there is none.
local function visit(id)
  while true do -- until nobody else was faster
    local link, version = links:get(id)
    if not link then return nil end
    local ok, message, code = links:update(id, { hits = link.hits + 1 }, { if_version = version })
    if ok then return link end
    if code ~= "conflict" and code ~= "not_found" then -- a redirect is worth more than its count
      io.stderr:write(("shortener: a visit of %s was not counted: %s\n"):format(id, message))
      return link
    end
  end
end

-- 302, not 301: browsers keep the latter, and would not come back to be counted. HEAD comes here as well, and counts
-- nothing: it is what link checkers send.
app:get("/:code", function(request)
  local id = request.params.code
  local link
  if request.method == "HEAD" then link = links:get(id) else link = visit(id) end
  if not link then return problem(404, "not_found", "no such link") end
  return 302, nil, { Location = link.url, ["Cache-Control"] = "no-store" }
end)
