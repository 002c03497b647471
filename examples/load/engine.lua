-- Load straight on the engine, without HTTP: three reads to one write.
--   build/tidemark load examples/load/engine.lua --engine data/load --threads 2 -- 100000
-- The argument is the number of documents that are used (10,000).
thresholds = { error_rate = 0 }

local documents = 10000
local articles

function init(arguments)
  documents = math.tointeger(tonumber(arguments[1] or documents))
  assert(documents and documents > 0, "a number of documents")
end

-- Called with i = 1, 2, …, each once in all threads together. nil, message, code counts as an error.
function operation(db, i)
  articles = articles or db:collection "articles"
  local id = ("article-%d"):format(i % documents)
  if i % 4 == 0 then return articles:put { id = id, title = "Title " .. i, tags = { "load", "engine" }, views = i } end
  articles:get(id) -- nil where nobody has put it yet, which is no error
  return true
end
