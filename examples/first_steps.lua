-- First steps: open a database, create, read, change and delete articles.
--   build/tidemark run examples/first_steps.lua [DIRECTORY]
local tidemark = require "tidemark"

local db <close> = assert(tidemark.open(arg and arg[1] or "build/examples/first_steps"))
local articles = db:collection "articles"

-- A document is a table (or JSON text). Without an id the engine makes one.
local id, version = assert(articles:create { title = "Hello", tags = { "lua", "c" } })
print("created", #id, "version", version)

-- An update is a JSON merge patch: what it doesn't name stays, null removes.
assert(articles:update(id, { title = "Hello, world", tags = tidemark.null, author = { name = "Ada" } }))
local article = articles:get(id)
print("title", article.title, "tags", article.tags, "author", article.author.name)

-- put creates or replaces; the id is in the document.
assert(articles:put { id = "about", title = "About us" })
print("has about", articles:has "about")

-- What can go wrong in a correct program comes as nil, message, code.
local ok, message, code = articles:create { id = "about" }
print("created again", ok, message, code)

for each_id, document in articles:each "abo" do
  print("found", each_id, document.title)
end

for _, name in ipairs { id, "about" } do assert(articles:delete(name)) end
print("left", #articles)
