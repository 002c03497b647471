-- mixed.lua, Test 2: 100,000 articles created, 10,000 updated, 5,000 deleted, interleaved.
local tidemark = require "tidemark"
local log_check = require "log_check"

local CREATED, UPDATED, DELETED = 100000, 10000, 5000

return function(directory, report)
  local path = directory .. "/mixed"
  local db = assert(tidemark.open(path))
  local articles = db:collection "articles"
  local ids, updated, deleted = {}, {}, {}
  local start = report.clock()
  for i = 1, CREATED do
    ids[i] = assert(articles:create { title = "Article number " .. i, body = ("text "):rep(20), number = i })
    if i % 10 == 0 then -- one made a while ago gets a new title
      local n = i - 5
      updated[n] = assert(articles:update(ids[n], { title = "Updated " .. n, tags = { "new" } }))
    end
    if i % 20 == 0 then -- and another goes; never one that was updated
      local n = i - 1
      deleted[n] = assert(articles:delete(ids[n]))
    end
  end
  local operations = CREATED + UPDATED + DELETED
  report.rate("Test 2: 115,000 mixed operations", operations, report.clock() - start, { rate = 40000 })
  assert(db:flush())
  report.rate("Test 2: until all are durable", operations, report.clock() - start)
  assert(db:close())

  local documents = log_check(path, report, "Test 2", { created = CREATED, updated = UPDATED, deleted = DELETED })
  local again <close> = assert(tidemark.open(path))
  local left = again:collection "articles"
  report.check("Test 2: documents left", #left, CREATED - DELETED)
  local right = 0
  for i, id in ipairs(ids) do
    local found, logged = left:get(id), documents[id]
    if deleted[i] then
      right = right + (found == nil and logged == nil and 1 or 0)
    else
      local title = updated[i] and "Updated " .. i or "Article number " .. i
      right = right + (found and logged and found.title == title and logged.title == title and found.number == i
        and (found.tags ~= nil) == (updated[i] ~= nil) and 1 or 0)
    end
  end
  report.check("Test 2: articles as they should be", right, CREATED)
end
