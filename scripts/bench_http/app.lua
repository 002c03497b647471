-- app.lua: what the bench asks of Tidemark: articles as a resource, and the same by handlers.
local app, db = ...
local articles = db:collection "articles"

app:resource("/resource", articles)

app:post("/handler", function(request)
  local id, version = articles:create(request:json())
  if not id then return 422, { error = version } end
  return 201, { id = id, version = version }
end)

app:get("/handler/:id", function(request)
  local article = articles:get(request.params.id)
  if not article then return 404 end
  return 200, article
end)

app:put("/resource-memory/:id", function(request)
  articles:put { id = request.params.id, body = request.body }
  return 204
end)
