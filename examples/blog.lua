-- A blog: articles as a REST resource, comments on them, and pages of HTML.
--
-- It shows app:resource, with which optimistic locking comes (ETag, If-Match); markup that text cannot break out of;
-- and a change that many clients make to one document at once.
--
--   build/tidemark serve examples/blog.lua --db data/blog
--
--   blog=http://127.0.0.1:8080
--   curl -i $blog/api/articles --json '{"id": "hello", "title": "Hello", "text": "The first.\n\nThe end."}'
--   curl -i $blog/api/articles/hello                              # 200, with its ETag, here "1"
--   curl -i $blog/api/articles/hello -X PATCH -H 'If-Match: "1"' --json '{"title": "Hello, world"}'
--   curl -i $blog/api/articles/hello -X PATCH -H 'If-Match: "1"' --json '{"title": "Mine"}'        # 412: too late
--   curl -i $blog/api/articles/hello/comments --json '{"author": "Ada", "text": "I agree."}'
--   curl $blog/ $blog/articles/hello                              # or in a browser
local app, db = ...
local tidemark = require "tidemark"

local COMMENTS_MAX = 500
local FRONT_PAGE_MAX = 50

local articles = db:collection "articles"
app:resource("/api/articles", articles)

-- What the engine's codes are in HTTP. What is not here is a failure of the disk: 503, and nobody outside hears more.
local STATUS = { not_found = 404, invalid = 422, timeout = 504, full = 507, read_only = 403 }

local function problem(status, code, detail)
  return status, { status = status, code = code, detail = status < 500 and detail or nil },
    { ["Content-Type"] = "application/problem+json" }
end

-- ---- Comments ----

--- What is wrong with a comment that was sent, or nil.
local function comment_fault(sent)
  if type(sent) ~= "table" then return "a comment is an object" end
  for name, bytes_max in pairs { author = 100, text = 5000 } do
    local value = sent[name]
    if type(value) ~= "string" or not value:find "%S" or #value > bytes_max then
      return ("%s: a text of at most %d bytes is needed"):format(name, bytes_max)
    end
  end
end

local function comments_of(article)
  return type(article.comments) == "table" and article.comments or tidemark.array {}
end

app:post("/api/articles/:id/comments", function(request)
  local sent, malformed = request:json()
  if malformed then return problem(400, "bad_request", malformed) end
  local fault = comment_fault(sent)
  if fault then return problem(422, "invalid", fault) end
  local comment = { author = sent.author, text = sent.text, at = os.date "!%Y-%m-%dT%H:%M:%SZ" }
  local id = request.params.id
  while true do -- until nobody else was faster
    local article, version = articles:get(id)
    if not article then return problem(404, "not_found", "no article " .. id) end
    local comments = comments_of(article)
    if #comments >= COMMENTS_MAX then return problem(409, "closed", "the article has enough comments") end
    comments[#comments + 1] = comment
    local ok, message, code = articles:update(id, { comments = comments }, { if_version = version })
    if ok then return 201, comment end
    if code ~= "conflict" then return problem(STATUS[code] or 503, code, message) end
  end
end)

-- ---- Pages ----

local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }
local Markup = {}

--- Puts values in the places of a template: {name}. Text is escaped, so that only what this function made is markup.
local function html(template, values)
  local text = template:gsub("{(%a+)}", function(name)
    local value = values[name]
    if getmetatable(value) == Markup then return value.text end
    return (tostring(value):gsub("[&<>\"']", ENTITIES))
  end)
  return setmetatable({ text = text }, Markup)
end

--- The markup of all items, one after the other.
local function each_html(list, make)
  local texts = {}
  for i, item in ipairs(list) do texts[i] = make(item).text end
  return setmetatable({ text = table.concat(texts, "\n") }, Markup)
end

local function percent_encode(text)
  return (text:gsub("[^%w._~-]", function(byte) return ("%%%02X"):format(byte:byte()) end))
end

--- The API takes any object for an article: a page takes nothing for granted.
local function text_of(value, otherwise)
  return type(value) == "string" and value or otherwise
end

local function page(status, title, content)
  local document = html([[
<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body { max-width: 40em; margin: 2em auto; padding: 0 1em; font: 1.1em/1.5 serif }</style>
<h1>{title}</h1>
{content}
</html>
]], { title = title, content = content })
  return status, document.text, {
    ["Content-Type"] = "text/html; charset=utf-8",
    ["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'",
    ["X-Content-Type-Options"] = "nosniff",
  }
end

--- The articles that were changed last, the newest first.
local function newest()
  local list = {}
  for id, article, version in articles:each() do
    list[#list + 1] = { path = percent_encode(id), title = text_of(article.title, id), version = version }
  end
  table.sort(list, function(a, b) return a.version > b.version end)
  return table.move(list, 1, FRONT_PAGE_MAX, 1, {})
end

local front = { seq = -1 } -- made again when the database has changed, since it reads all articles

app:get("/", function()
  local seq = db:watermarks().accepted
  if front.seq ~= seq then
    front = { seq = seq, content = each_html(newest(), function(article)
      return html('<p><a href="/articles/{path}">{title}</a></p>', article)
    end) }
  end
  return page(200, "Articles", front.content)
end)

local function paragraphs(text)
  local list = {}
  for paragraph in (text:gsub("\r\n", "\n") .. "\n\n"):gmatch "(.-)\n\n+" do
    if paragraph ~= "" then list[#list + 1] = { text = paragraph } end
  end
  return each_html(list, function(item) return html("<p>{text}</p>", item) end)
end

app:get("/articles/:id", function(request)
  local article = articles:get(request.params.id)
  if not article then
    return page(404, "Not found", html('<p>There is no such article. <a href="/">All articles</a></p>', {}))
  end
  return page(200, text_of(article.title, article.id), html("{text}\n{comments}", {
    text = paragraphs(text_of(article.text, "")),
    comments = each_html(comments_of(article), function(comment)
      local known = type(comment) == "table" and comment or {}
      return html("<blockquote>{text}<br>{author}</blockquote>", {
        text = text_of(known.text, ""),
        author = text_of(known.author, "anonymous"),
      })
    end),
  }))
end)
