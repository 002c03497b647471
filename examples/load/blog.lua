-- Load for examples/blog.lua: nine reads to one write, on articles that this run has made.
--   build/tidemark load examples/load/blog.lua --url http://127.0.0.1:8080
-- wrk takes this script as well: wrk -s examples/load/blog.lua http://127.0.0.1:8080
thresholds = { error_rate = 0 }

local ARTICLES = 100
local json = { ["Content-Type"] = "application/json" }
local ids, turn = {}, 0

function request()
  turn = turn + 1
  if #ids == 0 or (turn % 10 == 0 and #ids < ARTICLES) then
    local article = ('{"title": "Article %d", "text": "%s", "tags": ["load"]}'):format(turn, ("word "):rep(100))
    return wrk.format("POST", "/api/articles", json, article)
  end
  local id = ids[math.random(#ids)]
  if turn % 10 == 0 then
    return wrk.format("PATCH", "/api/articles/" .. id, json, ('{"title": "Changed in turn %d"}'):format(turn))
  end
  if turn % 10 == 5 then return wrk.format("GET", "/articles/" .. id) end
  return wrk.format("GET", "/api/articles/" .. id)
end

-- An answer to POST names the new article.
function response(status, headers)
  if status == 201 then ids[#ids + 1] = headers.Location:match "[^/]+$" end
end
