import { Client } from "./mushroom.js";

const PING_EVERY = 2000; // milliseconds
const POINTS = 60; // seconds of the ticker
const LINES = 200; // lines of the chat kept on the page

const find = (id) => document.getElementById(id);
const values = [];
let client = null;
let pings = null;

// What is in the address comes first, so that a link says how to connect: ?transport=poll&name=Ada
const asked = new URLSearchParams(location.search);
const name = asked.get("name") || `guest ${Math.floor(1000 * Math.random())}`;
let transport = asked.get("transport") === "poll" ? "poll" : "ws";

function showState() {
  const state = client?.state ?? "new";
  find("state").textContent = state;
  find("state").dataset.state = state;
  find("transport").textContent = client?.transport === "poll" ? "Long poll" : client?.transport === "ws" ? "WebSocket" : "–";
  const live = state === "connected" || state === "retrying";
  find("send").disabled = !live;
  find("disconnect").disabled = !live;
  if (!live) find("rtt").textContent = "–";
}

function showProblem(text) {
  find("problem").textContent = text;
  find("problem").hidden = !text;
}

function showLine({ from, text, at }) {
  const item = document.createElement("li");
  const time = document.createElement("time");
  time.dateTime = at;
  time.textContent = new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
  const who = document.createElement("b");
  who.textContent = from;
  const said = document.createElement("span");
  said.textContent = text;
  item.append(time, who, said);
  const lines = find("lines");
  lines.append(item);
  while (lines.childElementCount > LINES) lines.firstElementChild.remove();
  lines.scrollTop = lines.scrollHeight;
}

function showTick({ value }) {
  values.push(value);
  if (values.length > POINTS) values.shift();
  find("tick").textContent = value.toFixed(1);
  const step = 300 / (POINTS - 1);
  find("line").setAttribute("points", values.map((v, i) => `${(i * step).toFixed(1)},${(80 - v * 0.8).toFixed(1)}`).join(" "));
}

async function ping(to) {
  const start = performance.now();
  await to.request("ping", null, { timeout: 10000 });
  if (to === client) find("rtt").textContent = `${(performance.now() - start).toFixed(1)} ms`;
}

async function connect() {
  await client?.close();
  clearInterval(pings);
  // A line may come before the history without being in it, or after it and be in it, too.
  const early = [];
  let told = null; // the numbers of the lines in the history
  const mine = client = new Client({
    url: "rpc/",
    transports: [transport],
    methods: {
      said: (line) => {
        if (!told) early.push(line);
        else if (!told.has(line.n)) showLine(line);
      },
      tick: showTick,
      people: (count) => { find("people").textContent = count; },
    },
  });
  for (const event of ["connected", "retrying", "recovered", "closed"]) {
    mine.addEventListener(event, () => { if (mine === client) showState(); });
  }
  mine.addEventListener("closed", ({ detail }) => { if (mine === client) showProblem(detail.message); });
  showState();
  showProblem("");
  try {
    const connecting = mine.connect();
    showState();
    await connecting;
    const history = await mine.request("join", name);
    told = new Set(history.map(({ n }) => n));
    find("lines").replaceChildren();
    [...history, ...early.filter(({ n }) => !told.has(n))].forEach(showLine);
    const pinged = () => ping(mine).catch(() => {}); // the state says what is wrong
    pinged();
    pings = setInterval(pinged, PING_EVERY);
  } catch (error) {
    showProblem(error.message);
  }
  showState();
}

find("me").textContent = `as ${name}`;
for (const choice of document.querySelectorAll("input[name=transport]")) {
  choice.checked = choice.value === transport;
  choice.addEventListener("change", () => {
    transport = choice.value;
    connect();
  });
}
find("connect").addEventListener("click", connect);
find("disconnect").addEventListener("click", () => {
  clearInterval(pings);
  client.close();
});
find("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = find("text").value.trim();
  if (!text) return;
  find("text").value = "";
  try {
    await client.request("say", text);
    showProblem("");
  } catch (error) {
    showProblem(error.message);
  }
});
connect();
