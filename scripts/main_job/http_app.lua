-- http_app.lua: what the main job serves: the same articles by a resource, and by handlers written in Lua.
local app, db = ...
local articles = db:collection "articles"

app:resource("/resource/articles", articles)

app:post("/handlers/articles", function(request)
  local article, message = request:json()
  if not article then return 400, { error = message } end
  local id, version = articles:create(article)
  if not id then return 409, { error = version } end
  return 201, { id = id, version = version }
end)

app:patch("/handlers/articles/:id", function(request)
  local version, message, code = articles:update(request.params.id, request:json() or {})
  if not version then return code == "not_found" and 404 or 409, { error = message } end
  return 200, { version = version }
end)

app:delete("/handlers/articles/:id", function(request)
  if not articles:delete(request.params.id) then return 404 end
  return 204
end)
