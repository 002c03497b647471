-- create.lua, Test 1: 100,000 articles from Lua tables, one thread, ids made by the engine.
local tidemark = require "tidemark"
local log_check = require "log_check"

local COUNT = 100000

local function article(i)
  return {
    title = "Article number " .. i,
    body = "The tide comes in, the tide goes out; what it left at its highest is article " .. i .. ".",
    author = "author-" .. i % 100,
    tags = { "sea", "moon", "tag-" .. i % 10 },
    number = i,
    score = i / 8,
    published = i % 2 == 0,
  }
end

return function(directory, report)
  local path = directory .. "/create"
  local db = assert(tidemark.open(path))
  local articles = db:collection "articles"
  local ids = {}
  local start = report.clock()
  for i = 1, COUNT do ids[i] = assert(articles:create(article(i))) end
  report.rate("Test 1: 100,000 articles created", COUNT, report.clock() - start, { rate = 50000, seconds = 2 })
  assert(db:flush())
  report.rate("Test 1: until all are durable", COUNT, report.clock() - start)
  assert(db:close())

  local documents = log_check(path, report, "Test 1", { created = COUNT, updated = 0, deleted = 0 })
  local whole = 0
  for i, id in ipairs(ids) do
    local found, expected = documents[id], article(i)
    if found and found.id == id and found.title == expected.title and found.body == expected.body
      and found.author == expected.author and found.tags[3] == expected.tags[3] and found.number == i
      and math.type(found.number) == "integer" and found.score == expected.score
      and found.published == expected.published then
      whole = whole + 1
    end
  end
  report.check("Test 1: articles as they were given", whole, COUNT)
end
