-- http_load.lua: the requests of the main job, for `tidemark load`. Arguments: the base path, and "create" or "mixed".
-- mixed: 100,000 creates, then 10,000 updates of the first ones and 5,000 deletes of the next ones, whose creation was
-- answered long before.
local CREATED, UPDATED = 100000, 10000
local base, kind
local sent = 0

function init(arguments)
  base, kind = arguments[1], arguments[2]
  wrk.headers["Content-Type"] = "application/json"
end

local function create(i)
  return wrk.format("POST", base, nil, ('{"id":"article-%d","title":"Article number %d","body":"The tide comes in, the '
    .. 'tide goes out; what it left at its highest is article %d.","author":"author-%d","number":%d}')
    :format(i, i, i, i % 100, i))
end

function request()
  sent = sent + 1
  if kind ~= "mixed" or sent <= CREATED then return create(sent) end
  local i = sent - CREATED
  local path = base .. "/article-" .. i
  if i <= UPDATED then return wrk.format("PATCH", path, nil, '{"title":"Updated"}') end
  return wrk.format("DELETE", path)
end
