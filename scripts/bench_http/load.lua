-- load.lua: one request, again and again, without Lua. Arguments: method, path, body, further headers.
function init(arguments)
  wrk.method, wrk.path = arguments[1], arguments[2]
  if arguments[3] ~= "" then
    wrk.body = arguments[3]
    wrk.headers["Content-Type"] = "application/json"
  end
  local name, value = (arguments[4] or ""):match "^(.-): (.*)$"
  if name then wrk.headers[name] = value end
end
